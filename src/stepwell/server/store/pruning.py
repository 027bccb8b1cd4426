"""What stores have in common when they delete what is old: where a look begins. Pure."""

from collections.abc import Sequence

from stepwell.core.model import Run
from stepwell.server.store.base import Cursor, Prune, Pruned
from stepwell.wire.ids import ulid

ENDED = ("cancelled", "completed", "failed", "skipped")


def below(asked: Prune) -> str:
    """Run ids below this one are looked at: a run that ended before a time was queued before it, and has such an id."""
    return made_before(asked) if asked.after is None else str(asked.after[0])


def made_before(asked: Prune) -> str:
    """Ids that were made before the time are below this one."""
    return ulid(max(0, asked.before), bytes(10))


def beyond(asked: Prune, *begin: int | str) -> Cursor:
    """Records beyond this place are looked at, from ``begin`` on."""
    return begin if asked.after is None else asked.after


def told(asked: Prune, seen: Sequence[Cursor], count: int) -> Pruned:
    """The answer, when ``seen`` are the places that were looked at, in order."""
    return Pruned(count, seen[-1] if len(seen) >= asked.limit else None)


def first_events(runs: Sequence[Run]) -> list[str]:
    """By one event of each run all its repetitions are found: they have the same."""
    return sorted({run.event_ids[0] for run in runs if run.event_ids})
