"""What pruning means: the memory store deletes what is old, as every other does."""

from collections.abc import Collection, Iterable, Mapping

from stepwell.core.cancellations import over, place
from stepwell.core.model import Cancellation, Run, RunKey, StoredEvent
from stepwell.core.retention import removable
from stepwell.core.runs import holds
from stepwell.server.store.base import Cursor, Prune
from stepwell.server.store.pruning import below, beyond, made_before


def old_runs(asked: Prune, runs: Mapping[str, Run], busy: Collection[str]) -> tuple[list[Cursor], set[str]]:
    """The places that are looked at, and the ids of what goes."""
    start = below(asked)
    ended = sorted((run for run in runs.values() if run.status.ended and run.run_id < start), key=_id, reverse=True)
    seen = ended[: asked.limit]
    return [(run.run_id,) for run in seen], removable(seen, runs, busy, asked.before)


def old_events(
    asked: Prune, events: Iterable[StoredEvent], needed: Mapping[str, Collection[str]], busy: Collection[str]
) -> tuple[list[Cursor], set[str]]:
    """``needed``: runs that are stored, by event; ``busy``: ids of work items' runs."""
    start = beyond(asked, -1, "")
    places: list[Cursor] = sorted((event.received_at, event.internal_id) for event in events)
    seen = [place for place in places if place > start and place < (asked.before, "")][: asked.limit]
    ids = {str(event_id) for _, event_id in seen}
    return seen, {one for one in ids if not needed.get(one) and f"event:{one}" not in busy}


def old_keys(
    asked: Prune, keys: Iterable[RunKey], runs: Mapping[str, Run]
) -> tuple[list[Cursor], set[tuple[str, str]]]:
    """``runs``: by id."""
    start = beyond(asked, -1, "", "")
    places = {(key.expires_at, key.function_id, key.key): key for key in keys if key.expires_at <= asked.before}
    seen: list[Cursor] = [place for place in sorted(places) if place > start][: asked.limit]
    found = [key for place, key in places.items() if place in seen]
    gone = [key for key in found if not holds(key, runs.get(key.run_id or ""), asked.before)]
    return seen, {(key.function_id, key.key) for key in gone}


def old_cancellations(
    asked: Prune, known: Mapping[str, Cancellation], busy: Collection[str]
) -> tuple[list[Cursor], set[str]]:
    """``known``: by id; ``busy``: ids of work items' runs."""
    (start,) = beyond(asked, "")
    seen = [one for one in sorted(known) if str(start) < one < made_before(asked)][: asked.limit]
    gone = {one for one in seen if over(known[one], asked.before) and place(known[one]) not in busy}
    return [(one,) for one in seen], gone


def _id(run: Run) -> str:
    return run.run_id
