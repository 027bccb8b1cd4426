"""What an event did not start, and why: skipped runs, and keys of the event for what left no run. Pure."""

from collections.abc import Iterable
from typing import Final

import msgspec

from stepwell.core.model import Run, RunKey, StoredEvent
from stepwell.core.outputs import Commit, RateLimited, Single

DUPLICATE: Final = "duplicate"
_SENTENCES: Final = {
    "paused": "The function was paused.",
    "singleton": "Another run of its singleton was active.",
    "rate_limit": "Its rate limit was used up.",
    "idempotency": "An event with the same idempotency key had started it within 24 hours.",
    DUPLICATE: "An event with the same id had started it already.",
}
_PLACE: Final = ":unstarted:"
"""Stands before the ids of events in the place of a key's function id; the key is the reason and the function."""
_KEPT_MS: Final = 30 * 24 * 3600 * 1000


class Unstarted(msgspec.Struct, frozen=True):
    """A function that an event would have started. ``run_id``: the skipped run that says so."""

    function_id: str
    reason: str
    """``paused``, ``singleton``, ``rate_limit``, ``idempotency``, ``duplicate``; two of them where either may be it."""
    run_id: str | None = None


def sentence(reason: str) -> str:
    """Why, for people."""
    return " Or: ".join(_SENTENCES.get(one, one) for one in reason.split(" or "))


def place(event_id: str) -> str:
    """What the keys of an event (internal id) have in the place of a function."""
    return _PLACE + event_id


def note(event_id: str, function_id: str, reason: str, now: int) -> RunKey:
    """The record that an event did not start a function. It is kept for 30 days."""
    return RunKey(place(event_id), f"{reason}:{function_id}", now + _KEPT_MS)


def found(keys: Iterable[str], runs: Iterable[Run]) -> list[Unstarted]:
    """What ``keys``, those at the event's place, and the ``runs`` of the event tell. A key means nothing where there is a
    run: the request that sent the event came twice."""
    skipped: list[Unstarted] = []
    known: set[str] = set()
    for run in runs:
        known.add(run.function_id)
        if run.skipped is not None:
            skipped.append(Unstarted(run.function_id, run.skipped, run.run_id))
    for key in keys:
        reason, _, function_id = key.partition(":")
        if function_id not in known:
            known.add(function_id)
            skipped.append(Unstarted(function_id, reason))
    return sorted(skipped, key=lambda one: (one.function_id, one.run_id or ""))


def not_started(commit: Commit, *, duplicate: bool, refused: bool) -> Unstarted | None:
    """What a commit that was to begin a run came to, unless it began one. ``duplicate``, ``refused``: what the store said."""
    if commit.run is not None and commit.run.skipped is not None:
        return None if duplicate else Unstarted(commit.run.function_id, commit.run.skipped, commit.run.run_id)
    if commit.key is None or not (duplicate or refused):
        return None
    if duplicate:
        return Unstarted(commit.key.function_id, DUPLICATE)
    stops = [_stop(admission) for admission in commit.admit if isinstance(admission, RateLimited | Single)]
    run_id = next((run_id for _, run_id in stops), None) if len(stops) == 1 else None
    return Unstarted(commit.key.function_id, " or ".join(reason for reason, _ in stops), run_id)


def notes(event: StoredEvent, missed: Iterable[Unstarted], now: int) -> tuple[RunKey, ...]:
    """Keys for those of which nothing else keeps a record: the store has refused them without one."""
    return tuple(note(event.internal_id, one.function_id, one.reason, now) for one in missed if one.reason == DUPLICATE)


def _stop(admission: RateLimited | Single) -> tuple[str, str | None]:
    if isinstance(admission, RateLimited):
        return ("idempotency" if admission.once else "rate_limit"), None
    skipped = admission.instead.run if admission.instead is not None else None
    return "singleton", skipped.run_id if skipped is not None else None
