"""Waiting for a signal: one step at a time, the one that is named by it (protocol 1.5, 3.4)."""

import msgspec

from stepwell.core.model import Item, Wait, WorkKind
from stepwell.core.outputs import Commit
from stepwell.core.waits import BadWait
from stepwell.wire.errors import ErrorInfo

_REPLACE = "replace"
_CONFLICTS = frozenset({"", "fail", _REPLACE})


class _Options(msgspec.Struct):
    signal: str = ""
    timeout: str | None = None
    conflict: str | None = None
    on_conflict: str | None = None


def wait_for_signal(run_id: str, step_id: str, opts: bytes) -> tuple[Wait, str]:
    """What a WaitForSignal op waits for, and its time-out. Raises BadWait."""
    try:
        asked = msgspec.json.decode(opts, type=_Options)
    except msgspec.MsgspecError as problem:
        raise BadWait(f"it does not say which signal to wait for: {problem}") from None
    conflict = asked.conflict or asked.on_conflict or ""
    if not asked.signal:
        raise BadWait("it does not say which signal to wait for")
    if conflict not in _CONFLICTS:
        raise BadWait(f"its conflict is {conflict[:80]!r}: fail or replace")
    wait = Wait(run_id=run_id, step_id=step_id, signal=asked.signal, replace=conflict == _REPLACE)
    return wait, asked.timeout or ""


def begun(wait: Wait, step_name: str, now: int) -> Commit:
    """The commit that makes the step the waiter; where another one is, the run ends with an error instead."""
    message = (
        f"signal conflict: step {step_name!r} can not wait for the signal {wait.signal!r}, for which another step waits "
        "already: give each its own signal, or take this one over with on_conflict replace"
    )
    error = msgspec.json.encode(ErrorInfo(name="Error", message=message))
    item = Item(run_id=wait.run_id, key=wait.step_id, kind=WorkKind.FAIL, due_at=now, payload=error)
    return Commit(now=now, waits=(wait,), otherwise=Commit(now=now, put=(item,)))


def sent(wait: Wait, data: bytes, now: int) -> Commit:
    """The commit that hands the signal, with JSON data, to the step that waits for it."""
    signal = msgspec.json.encode(wait.signal)
    memo = b'{"data":{"signal":' + signal + b',"data":' + data + b"}}"
    item = Item(run_id=wait.run_id, key=wait.step_id, kind=WorkKind.RESUME, due_at=now, payload=memo)
    return Commit(now=now, take=((wait.run_id, wait.step_id),), put=(item,))
