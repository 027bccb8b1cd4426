"""Ending many runs of a function at once (protocol 1.7): which runs, and the work that ends them, a page at a time."""

from collections.abc import Sequence

from stepwell.core.cel import compile as compile_expression
from stepwell.core.model import Cancellation, Item, ItemRef, Run, WorkKind
from stepwell.core.outputs import Commit
from stepwell.core.triggers import EVENT_ONLY
from stepwell.wire.jsons import decode

PAGE = 100
"""Runs that are looked at in one transaction."""
_PREFIX = "cancellation:"
_FIRST, _AGAIN = "first", "again"
_LATE_MS = 5_000
"""How much later than it began a run may be stored, for the store was busy."""


def covers(cancellation: Cancellation, run: Run, event: bytes | None) -> bool:
    """Whether it ends the run; ``event`` is what started that, and only looked at when there is an expression."""
    after = -1 if cancellation.started_after is None else cancellation.started_after
    if run.function_id != cancellation.function_id or not after < run.queued_at <= cancellation.started_before:
        return False
    if cancellation.condition is None:
        return True
    program = compile_expression(cancellation.condition, EVENT_ONLY)
    return event is not None and program.condition({"event": decode(event)}, now_ms=cancellation.created_at)


def over(cancellation: Cancellation, before: int) -> bool:
    """Whether every run that it may mean was queued before ``before`` (ms). Once its work is done, too, it means nothing."""
    return max(cancellation.created_at, cancellation.started_before) < before


def begin(cancellation: Cancellation) -> Commit:
    """The commit that stores it, and the item that begins the work."""
    now = cancellation.created_at
    return Commit(now=now, cancellations=(cancellation,), put=(_item(cancellation, _FIRST, now),))


def page(cancellation: Cancellation, item: Item, met: Sequence[Run], last: str | None, now: int) -> Commit:
    """End the runs of one page that it means, and go on after run ``last``; None: it was the last page.

    Runs that begin while the pages are gone through, or are stored late, are ended by a second round.
    """
    ended = tuple(Commit(now=now, put=(_ending(cancellation, run, now),)) for run in met)
    following: tuple[Item, ...] = ()
    if last is not None:
        following = (_item(cancellation, item.key, now, last.encode()),)
    elif item.key == _FIRST and cancellation.started_before > cancellation.created_at - _LATE_MS:
        following = (_item(cancellation, _AGAIN, cancellation.started_before + _LATE_MS),)
    return Commit(now=now, done=(ItemRef(item.run_id, item.key, item.claim),), put=following, more=ended)


def reason(cancellation_id: str) -> str:
    """Why the run ended, in words."""
    return f"cancelled with others (cancellation {cancellation_id})"


def cancellation_of(key: str) -> str | None:
    """The id in the run id or key of an item that a cancellation has made; None for others."""
    return key.removeprefix(_PREFIX) if key.startswith(_PREFIX) else None


def place(cancellation: Cancellation) -> str:
    """What its items have in the place of a run's id."""
    return f"{_PREFIX}{cancellation.cancellation_id}"


def _item(cancellation: Cancellation, key: str, due_at: int, payload: bytes | None = None) -> Item:
    return Item(run_id=place(cancellation), key=key, kind=WorkKind.CANCEL_RUNS, due_at=due_at, payload=payload)


def _ending(cancellation: Cancellation, run: Run, now: int) -> Item:
    return Item(run_id=run.run_id, key=place(cancellation), kind=WorkKind.CANCEL, due_at=now)
