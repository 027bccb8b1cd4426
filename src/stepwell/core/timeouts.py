"""The time-outs of a whole run: how long it may wait for its first call, and how long it may then take (protocol 5.8)."""

from stepwell.core.cancellations import cancellation_of, reason
from stepwell.core.draft import Draft
from stepwell.core.model import Item, Run, RunStatus, WorkKind
from stepwell.core.waits import SINGLETON
from stepwell.wire.durations import format_duration

_START = "timeout:start"
_FINISH = "timeout:finish"


def start_timer(run: Run, due_at: int) -> tuple[Item, ...]:
    """What cancels the run when its first call, due at ``due_at`` (ms), has not begun in time; nothing without a time-out."""
    return () if run.start_ms is None else (_timer(run, _START, due_at + run.start_ms),)


def began(draft: Draft, at: int) -> None:
    """The run's first call began ``at`` (ms): the time to its finish is counted from then."""
    run = draft.run
    if run.started_at is not None:
        return
    draft.header(status=RunStatus.RUNNING, started_at=at)
    if run.finish_ms is not None:
        draft.put(_timer(run, _FINISH, at + run.finish_ms))


def over(run: Run, item: Item) -> str | None:
    """Why the run ends now that this item of kind ``CANCEL`` is due; None when it goes on: it started in time."""
    if item.key == _START:
        if run.started_at is not None:
            return None
        return f"the run had not started within {format_duration(run.start_ms or 0)} (its start timeout)"
    if item.key == _FINISH:
        return (
            f"the run had not finished within {format_duration(run.finish_ms or 0)} of its start (its finish timeout)"
        )
    if item.key == SINGLETON:
        return "a newer run of this singleton has taken its place"
    many = cancellation_of(item.key)
    return "cancelled by an event" if many is None else reason(many)


def _timer(run: Run, key: str, due_at: int) -> Item:
    return Item(run_id=run.run_id, key=key, kind=WorkKind.CANCEL, due_at=due_at)
