"""What may be deleted once it is old: what nothing that goes on, or may be made anew, points at. Pure; times in ms."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from stepwell.core.model import Run
from stepwell.core.runs import KEY_LIFETIME_MS, waiting_steps

DAY_MS: Final = 24 * 3600 * 1000
DEFAULT_KEEP_MS: Final = 30 * DAY_MS
MIN_KEEP_MS: Final = KEY_LIFETIME_MS
"""A run is there for as long as its event id starts no other one: so that promise needs no record of its own."""


def cutoff(now: int, keep_ms: int) -> int:
    """Runs that ended before this time, and events that came before it, are old."""
    return now - max(keep_ms, MIN_KEEP_MS)


def removable(old: Iterable[Run], known: Mapping[str, Run], busy: Collection[str], before: int) -> set[str]:
    """The ids of those runs in ``old`` that ended before ``before`` and that nothing points at.

    ``known``: by id, all stored runs of the events of ``old`` (a repetition of a run has its events), and the runs that
    started one of them; ``busy``: runs that have work items.
    """
    gone: set[str] = set()
    for run in sorted(old, key=lambda run: run.run_id, reverse=True):  # a repetition before what it repeats
        if run.ended_at is None or run.ended_at >= before or run.run_id in busy:
            continue
        repeated = any(one.original == run.run_id and one.run_id not in gone for one in known.values())
        if not repeated and not any(_goes_on(known.get(starter)) for starter in starters(run)):
            gone.add(run.run_id)
    return gone


def starters(run: Run) -> set[str]:
    """The ids of the runs that invoked this one and wait for its outcome, or did."""
    return {step.partition(".")[0] for step in waiting_steps(run)}


def _goes_on(run: Run | None) -> bool:
    return run is not None and not run.status.ended
