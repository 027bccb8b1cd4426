"""The runs that the steps of a run invoked."""

from collections.abc import Iterator, Sequence

from stepwell.core.invokes import parent_of
from stepwell.core.model import Run, Step, StoredEvent
from stepwell.server.api.facade import EngineFacade
from stepwell.server.store.base import EventQuery, RunQuery
from stepwell.wire.events import INVOKED
from stepwell.wire.ops import Opcode, opcode

_MOST = 500
"""Events that are looked at for one moment, and runs of one event."""
_LATER_MS = 1_000
"""An invoking event is stored together with its step; so much later it is at most."""


async def children_of(engine: EngineFacade, run: Run, steps: Sequence[Step]) -> dict[str, list[Run]]:
    """By step id, oldest first: what was started by the events with which ``steps`` invoked functions.

    They are found by the time of the step, however many runs there have been since.
    """
    found: dict[str, list[Run]] = {}
    invoking = sorted(step.created_at for step in steps if opcode(step.op) is Opcode.INVOKE)
    for first, last in _spans(invoking):
        asked = EventQuery(limit=_MOST, name=INVOKED, after=first - 1, until=last + _LATER_MS)
        for event in await engine.list_events(asked):
            step_id = _step_of(event, run)
            if step_id:
                started = await engine.runs(RunQuery(event_id=event.internal_id, limit=_MOST))
                found.setdefault(step_id, []).extend(started[::-1])
    return found


def _step_of(event: StoredEvent, run: Run) -> str:
    run_id, _, step_id = (parent_of(event.body) or "").partition(".")
    return step_id if run_id == run.run_id else ""


def _spans(moments: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Stretches of time in which there are moments close to each other."""
    begun = 0
    for at, moment in enumerate(moments):
        if at + 1 == len(moments) or moments[at + 1] - moment > _LATER_MS:
            yield moments[begun], moment
            begun = at + 1
