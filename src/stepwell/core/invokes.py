"""One function calls another: the event that starts the child, and what its parent learns of it (protocol 5.6)."""

from typing import Any

import msgspec

from stepwell.core.model import Item, Run, RunStatus, WorkKind
from stepwell.core.outputs import Commit, SystemEvent
from stepwell.wire.errors import ErrorInfo, parse_error
from stepwell.wire.events import INVOKED


class BadInvoke(ValueError):
    """The step does not say what to invoke."""


class _Payload(msgspec.Struct):
    data: dict[str, Any] | None = None


class _Options(msgspec.Struct):
    function_id: str = ""
    payload: _Payload | None = None
    timeout: str | None = None


class _Target(msgspec.Struct):
    fn_id: str | None = None
    correlation_id: str | None = None


class _Data(msgspec.Struct, rename={"target": "_inngest"}):
    target: _Target | None = None


class _Event(msgspec.Struct):
    data: _Data | None = None


def invoke(opts: bytes, run: Run, step_id: str, name: str) -> tuple[SystemEvent, str | None]:
    """The event that starts the child of an InvokeFunction op, and the op's timeout. Raises BadInvoke."""
    try:
        asked = msgspec.json.decode(opts, type=_Options)
    except msgspec.MsgspecError as problem:
        raise BadInvoke(f"step {name!r} does not say what to invoke: {problem}") from None
    if not asked.function_id:
        raise BadInvoke(f"step {name!r} does not say which function to invoke")
    correlation = f"{run.run_id}.{step_id}"
    payload = asked.payload or _Payload()
    data = payload.data if payload.data is not None else {}
    target = {
        "fn_id": asked.function_id,
        "correlation_id": correlation,
        "source_fn_id": run.function_id,
        "source_app_id": run.app_id,
        "name": name,
    }
    body = msgspec.json.encode({**data, "_inngest": target})
    event = SystemEvent(name=INVOKED, data=body, function_id=asked.function_id, correlation=correlation)
    return event, asked.timeout


def target_of(body: bytes) -> str | None:
    """The id or UUID of the function that an invoking event means."""
    target = _target(body)
    return target.fn_id if target is not None else None


def parent_of(event: bytes) -> str | None:
    """The step that waits for the run that an ``inngest/function.invoked`` event starts."""
    target = _target(event)
    return target.correlation_id if target is not None else None


def _target(event: bytes) -> _Target | None:
    try:
        data = msgspec.json.decode(event, type=_Event).data
    except msgspec.MsgspecError:
        return None
    return data.target if data is not None else None


def outcome(run: Run) -> bytes:
    """The memo that the invoking step gets for a run that has ended."""
    output = run.output or b"null"
    if run.status is RunStatus.COMPLETED:
        return b'{"data":' + output + b"}"
    if run.status is RunStatus.CANCELLED:
        return failure("InvokedFunctionCancelled", f"the invoked function was cancelled (run {run.run_id})")
    return b'{"error":' + msgspec.json.encode(parse_error(output)) + b"}"


def unknown(function_id: str) -> bytes:
    """The memo where there is no such function."""
    return failure("Error", f"could not find function with ID: {function_id}")


def timed_out() -> bytes:
    """The memo where the child took longer than the step waits. The child goes on."""
    return failure("InngestInvokeTimeoutError", "Timed out waiting for invoked function to complete")


def failure(name: str, message: str, kind: str | None = None) -> bytes:
    """An error memo. ``kind``: of a request, as in :class:`~stepwell.wire.fetch.FetchBroken`."""
    return b'{"error":' + msgspec.json.encode(ErrorInfo(name=name, message=message, kind=kind)) + b"}"


def resume(correlation: str, memo: bytes, now: int) -> Commit:
    """Hand a result to a step that waits for one: its timer gives way to an item that carries the memo."""
    run_id, _, step_id = correlation.partition(".")
    item = Item(run_id=run_id, key=step_id, kind=WorkKind.RESUME, due_at=now, payload=memo)
    return Commit(now=now, put=(item,))
