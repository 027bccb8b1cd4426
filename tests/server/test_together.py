"""Results of a run that come close together are decided on, and recorded, together."""

import asyncio
from collections.abc import Sequence

import pytest

from stepwell.core.inputs import Fetched, Input
from stepwell.core.model import RunStatus, RunView, StepStatus
from stepwell.core.outputs import Commit
from stepwell.server.telemetry.observers import Observer
from stepwell.wire.calls import Answer, CallRequest
from stepwell.wire.fetch import FetchOutcome, FetchRequest, FetchResponse
from tests.server.test_engine import Rig, gateway, ops, returned, running


class Together(Observer):
    """How many results each commit had."""

    def __init__(self) -> None:
        self.results: list[int] = []

    def moved(self, before: RunView, commit: Commit, inputs: Sequence[Input]) -> None:
        found = sum(isinstance(each, Fetched) for each in inputs)
        if found:
            self.results.append(found)


async def results_of(monkeypatch: pytest.MonkeyPatch, count: int, apart: int) -> list[int]:
    """How a run with ``count`` requests recorded them that were answered ``apart`` turns of the loop apart."""

    async def app(request: CallRequest) -> Answer:
        if request.current < count:
            return ops(*(gateway(f"g{n}") for n in range(count) if f"g{n}" not in request.steps))
        return returned()

    there = asyncio.Event()
    open_gates: list[asyncio.Event] = []

    async def fetch(request: FetchRequest, attempt: int = 0) -> FetchOutcome:
        open_gates.append(gate := asyncio.Event())
        if len(open_gates) == count:
            there.set()
        await gate.wait()
        return FetchResponse(status=200, url=request.url, body=b"ok")

    seen = Together()
    async with running(app) as rig, asyncio.timeout(20):
        monkeypatch.setattr(rig.fetcher, "fetch", fetch)
        rig.engine.observers.add(seen)
        [run_id] = await rig.send()
        await there.wait()
        for gate in open_gates:
            gate.set()
            for _ in range(apart):
                await asyncio.sleep(0)
        await ended(rig, run_id)
    assert sum(seen.results) == count
    return seen.results


async def ended(rig: Rig, run_id: str) -> None:
    assert (await rig.finish(run_id)).run.status is RunStatus.COMPLETED


@pytest.mark.parametrize("apart", [0, 1, 2])
async def test_answers_in_the_same_turn_and_in_the_next_ones_are_one_commit(
    monkeypatch: pytest.MonkeyPatch, apart: int
) -> None:
    assert await results_of(monkeypatch, 5, apart) == [5]


async def test_a_run_whose_answers_go_on_and_on_does_not_wait_for_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *rest = await results_of(monkeypatch, 60, 1)
    assert 1 < first <= 12
    assert rest


async def test_what_was_answered_last_is_recorded_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """However soon after it the process ends."""
    there, gate, flying = asyncio.Event(), asyncio.Event(), set[str]()

    async def app(request: CallRequest) -> Answer:
        return ops(*(gateway(f"g{n}") for n in range(3)))

    async def fetch(request: FetchRequest, attempt: int = 0) -> FetchOutcome:
        flying.add(request.url)
        if len(flying) == 3:
            there.set()
        await gate.wait()
        return FetchResponse(status=200, url=request.url, body=b"ok")

    async with running(app) as rig, asyncio.timeout(20):
        monkeypatch.setattr(rig.fetcher, "fetch", fetch)
        [run_id] = await rig.send()
        await there.wait()
        gate.set()
        assert await rig.engine.drain(20)
        await rig.engine._committer.stop()
        [view] = await rig.store.load_runs([run_id])
        assert [step.status for step in view.steps.values()] == [StepStatus.COMPLETED] * 3
