"""What must be true of everything that is stored, after every transaction. Pure: each gives sentences about what is wrong."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from stepwell.core.flow.admission import START
from stepwell.core.model import Item, Pace, Run, Step, WorkKind
from stepwell.core.waits import SINGLETON
from stepwell.wire.constants import DISCOVERY

_LETTERS = frozenset({WorkKind.RESUME, WorkKind.FAIL, WorkKind.CANCEL})
"""Sent to a run by others, who may not know that it, or its step, has ended: whoever claims them throws them away."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it is stored. ``waits``: the step ids of what it waits for."""

    run: Run
    steps: Sequence[Step] = ()
    items: Sequence[Item] = ()
    waits: Sequence[str] = ()


class Result(msgspec.Struct, frozen=True):
    """The recorded result of a step."""

    position: int
    memo: bytes


def problems(stored: Stored) -> list[str]:
    """What is wrong with one run."""
    found = (*_counts(stored), *_work(stored), *_steps_and_items(stored), *_waits(stored))
    return [f"run {stored.run.run_id} {sentence}" for sentence in found]


def _counts(stored: Stored) -> Iterator[str]:
    """The header against the steps."""
    run, steps = stored.run, stored.steps
    positions = sorted(step.position for step in steps if step.position is not None)
    if positions != list(range(run.completed)):
        yield f"has {run.completed} results by its header, at the places {positions}"
    if sorted(step.number for step in steps) != list(range(run.steps)):
        yield f"has {run.steps} steps by its header, and {len(steps)} stored"
    pending = sum(1 for step in steps if step.own_item and not step.ended)
    if not run.status.ended and run.pending != pending:
        yield f"waits for {run.pending} steps by its header, and for {pending} by the steps"
    size = sum(len(step.memo or b"") for step in steps)
    if run.state_bytes != size:
        yield f"has {run.state_bytes} bytes of results by its header, and {size} stored"


def _work(stored: Stored) -> Iterator[str]:
    """An ended run has no work; one that goes on has some."""
    run, items = stored.run, stored.items
    if run.status.ended:
        if run.ended_at is None:
            yield "has ended, and nobody knows when"
        for item in items:
            if item.kind not in _LETTERS:
                yield f"has ended ({run.status.value}), and still has work: {item.kind.value} {item.key}"
        return
    if run.ended_at is not None:
        yield f"is {run.status.value}, and ended at {run.ended_at}"
    if not any(item.kind is not WorkKind.CANCEL for item in items):
        yield f"is {run.status.value}, and has nothing that could ever end it"


def _steps_and_items(stored: Stored) -> Iterator[str]:
    """Each step that the platform works on has its item, and each item is for something."""
    run = stored.run
    if run.status.ended:
        return
    items = {item.key: item for item in stored.items}
    if run.gathering:
        if START not in items:
            yield "waits for more events, and has no time at which it begins"
        return
    if run.discovering != (DISCOVERY in items):
        yield f"is {'' if run.discovering else 'not '}to be called by its header, and the item says otherwise"
    steps = {step.step_id: step for step in stored.steps}
    for step in stored.steps:
        if step.own_item and not step.ended and step.step_id not in items:
            yield f"has a step {step.name} that nothing works on"
    for key, item in items.items():
        step = steps.get(key)
        if item.kind in (WorkKind.FETCH, WorkKind.TIMER) and (step is None or step.ended):
            yield f"has a work item {item.kind.value} {key}, and no such step that goes on"


def _waits(stored: Stored) -> Iterator[str]:
    steps = {step.step_id: step for step in stored.steps}
    for key in stored.waits:
        step = steps.get(key)
        if stored.run.status.ended:
            yield f"has ended, and {key} still waits"
        elif step is not None and step.ended:
            yield f"has a step {step.name} that has ended and still waits"


def changed(before: Mapping[str, Result], steps: Iterable[Step]) -> list[str]:
    """Results that were recorded and are different now, or gone."""
    now = {step.step_id: Result(step.position, step.memo or b"") for step in steps if step.position is not None}
    return [
        f"the result of step {step_id} was {result} and is {now.get(step_id)}"
        for step_id, result in before.items()
        if now.get(step_id) != result
    ]


def results(steps: Iterable[Step]) -> dict[str, Result]:
    """What is recorded."""
    return {step.step_id: Result(step.position, step.memo or b"") for step in steps if step.position is not None}


def over_limit(claimed: Sequence[Item], holders: Mapping[str, int]) -> list[str]:
    """Limits that are exceeded. ``claimed``: every claimed item but those whose deadline had passed when they were claimed;
    ``holders``: how many runs hold a slot as a whole, by bucket."""
    used = Counter(limit.bucket for item in claimed for limit in set(item.limits)) + Counter(holders)
    asked = {limit for item in claimed for limit in (*item.limits, *item.holds)}
    return [
        f"{used[limit.bucket]} at once in {limit.bucket}, where {limit.limit} may be"
        for limit in sorted(asked, key=lambda limit: (limit.bucket, limit.limit))
        if used[limit.bucket] > limit.limit
    ]


def over_pace(times: Sequence[int], pace: Pace, slack_ms: int) -> list[str]:
    """The first window in which more passed than ``pace`` lets: in w ms at most ``burst + 1 + (w + slack) x limit / period``.

    ``times``: ms, in the order in which they passed. Where a clock went back w is negative, and fewer may have passed.
    """
    most = pace.burst * pace.period_ms + slack_ms * pace.limit
    first, credit = 0, -math.inf
    for place, at in enumerate(times):
        left = at * pace.limit - place * pace.period_ms
        if left > credit:
            first, credit = place, left
        if credit - left > most:
            rule = f"{pace.limit} may in each {pace.period_ms} ms, and {pace.burst} more at once"
            return [f"{place - first + 1} within {at - times[first]} ms in {pace.bucket}, where {rule}"]
    return []


def not_alone(runs: Iterable[Run], leaving: Iterable[Item]) -> list[str]:
    """Runs of one singleton at the same time. ``leaving``: items that end the run of a singleton for a newer one."""
    going = {item.run_id for item in leaving if item.key == SINGLETON}
    found: dict[str, list[str]] = {}
    for run in runs:
        if not run.status.ended and run.run_id not in going:
            for bucket in run.buckets:
                found.setdefault(bucket, []).append(run.run_id)
    return [
        f"the runs {', '.join(sorted(ids))} of {bucket} at the same time"
        for bucket, ids in found.items()
        if len(ids) > 1 and bucket.startswith("singleton:")
    ]


def unanswered(event_id: str, started: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Functions that an accepted event should have started: ``wanted`` but not ``started``, by function id."""
    return [f"the event {event_id} has started no run of {one}" for one in sorted(set(wanted) - set(started))]
