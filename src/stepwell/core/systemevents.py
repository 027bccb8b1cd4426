"""The events that the platform sends when a run ends (protocol 5.7)."""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from stepwell.core.model import Run, RunStatus
from stepwell.core.outputs import SystemEvent
from stepwell.core.runs import waiting_steps
from stepwell.wire.errors import ErrorInfo, parse_error

FINISHED = "inngest/function.finished"
FAILED = "inngest/function.failed"
CANCELLED = "inngest/function.cancelled"
NAMES = (FINISHED, FAILED, CANCELLED)
_QUIET = frozenset({FINISHED, FAILED})
"""Runs that these started send none, so that nothing goes round in circles."""
_WORDS = {RunStatus.COMPLETED: "Completed", RunStatus.FAILED: "Failed", RunStatus.CANCELLED: "Cancelled"}


def at_end(run: Run, events: Sequence[bytes]) -> list[SystemEvent]:
    """The events of a run that has just ended; none of a run that such an event had started."""
    if run.trigger in _QUIET or run.status not in _WORDS:
        return []
    sent = [SystemEvent(name=FINISHED, data=_data(run, events))]
    sent += [SystemEvent(name=FINISHED, data=_data(replace(run, parent=parent), events)) for parent in run.parents[1:]]
    if run.status is RunStatus.FAILED:
        sent.append(SystemEvent(name=FAILED, data=_data(run, events, raw=True), event_id=run.run_id))
    elif run.status is RunStatus.CANCELLED:
        sent.append(SystemEvent(name=CANCELLED, data=_data(run, events), event_id=run.run_id))
    return sent


def _data(run: Run, events: Sequence[bytes], *, raw: bool = False) -> bytes:
    """``raw``: the error is told a second time, under ``result``, as the app wrote it."""
    data: dict[str, object] = {
        "function_id": run.function_id,
        "run_id": run.run_id,
        "event": msgspec.Raw(events[0]) if events else None,
        "events": [msgspec.Raw(event) for event in events],
        "_inngest": {"status": _WORDS[run.status]},
    }
    correlation = next(iter(waiting_steps(run)), None)
    if correlation is not None:
        data["correlation_id"] = correlation
    if run.status is RunStatus.COMPLETED:
        data["result"] = msgspec.Raw(run.output or b"null")
    elif run.status is RunStatus.FAILED:
        data["error"] = _error(parse_error(run.output))
        if raw:
            data["result"] = msgspec.Raw(run.output or b"null")
    return msgspec.json.encode(data)


def _error(error: ErrorInfo) -> dict[str, object]:
    shape: dict[str, object] = {"error": error.message, "name": error.name, "message": error.message}
    more = {"stack": error.stack, "cause": error.cause}
    return shape | {key: value for key, value in more.items() if value is not None}
