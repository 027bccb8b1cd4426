"""What an engine holds of runs is bounded in number and bytes, and what it has forgotten goes on as if nothing had been."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stepwell.core.model import RunStatus, RunView
from stepwell.server.runtime.actors import Actor
from stepwell.server.runtime.warm import Warm
from stepwell.testing.platform.store_conformance import a_run
from stepwell.wire.calls import Answer, CallRequest
from stepwell.wire.fetch import FetchOutcome, FetchRequest, FetchResponse
from stepwell.wire.ops import Op
from tests.server.test_engine import Rig, gateway, ops, returned, running

BODY = 100_000


def sleep(name: str, duration: str) -> Op:
    return Op(op="Sleep", id=name, name=duration)


async def app(request: CallRequest) -> Answer:
    """Fetches, sleeps a second, and returns the size of what it has fetched."""
    if request.current == 0:
        return ops(gateway("large"))
    if request.current == 1:
        return ops(sleep("nap", "1s"))
    return returned(len(msgspec.json.decode(request.steps["large"])["data"]["body"]))


async def large(request: FetchRequest, attempt: int = 0) -> FetchOutcome:
    return FetchResponse(status=200, url=request.url, body=b"x" * BODY)


async def asleep(rig: Rig) -> str:
    """A run that sleeps."""
    [run_id] = await rig.send()
    async with asyncio.timeout(20):
        while (view := await rig.engine.view(run_id)) is None or "nap" not in view.steps:
            await asyncio.sleep(0.001)
    return run_id


@pytest.mark.parametrize(("runs", "size"), [(4, 10**9), (1000, 4 * BODY + 5_000), (1, 1)])
async def test_runs_that_sleep_are_forgotten_and_go_on(monkeypatch: pytest.MonkeyPatch, runs: int, size: int) -> None:
    async with running(app) as rig:
        monkeypatch.setattr(rig.fetcher, "fetch", large)
        warm = rig.engine._actors._warm = Warm(runs, size)
        sleeping = [await asleep(rig) for _ in range(12)]
        assert len(warm) <= max(runs, 1) + 1
        assert warm.size <= max(size, BODY + 1_000) + BODY + 1_000
        for run_id in sleeping:
            view = await rig.finish(run_id)
            assert (view.run.status, view.run.output) == (RunStatus.COMPLETED, str(BODY).encode())
        assert len(warm) <= runs  # who waited for one that had ended has it still


async def test_all_that_are_asked_for_are_there_however_few_are_kept() -> None:
    async def waits(request: CallRequest) -> Answer:
        return ops(sleep("nap", "1h"))

    async with running(waits) as rig:
        ids = [await asleep(rig) for _ in range(5)]
        rig.engine._actors._warm = Warm(runs=1, size=1)
        for _ in range(2):
            assert list(await rig.engine._actors.get(ids)) == ids
        together = await asyncio.gather(*(rig.engine._actors.get(ids[i:]) for i in range(5)))
        assert [list(found) for found in together] == [ids[i:] for i in range(5)]


def test_what_is_at_work_is_kept_and_does_not_hide_what_is_idle() -> None:
    warm = Warm(runs=3)
    busy = [Actor(RunView(a_run(f"busy{i}"), []), busy=True) for i in range(200)]
    for actor in busy:
        warm.put(actor)
    idle = [Actor(RunView(a_run(f"idle{i}"), [])) for i in range(20)]
    for actor in idle:
        warm.put(actor)
    assert len(warm) < 210
    assert all(actor.view.run.run_id in warm for actor in busy)
    for actor in busy:
        actor.busy = False
        warm.measure(actor)
    assert len(warm) <= 3


@given(st.lists(st.tuples(st.sampled_from(["put", "grow", "drop", "use"]), st.integers(0, 9), st.integers(0, 50))))
def test_its_size_is_that_of_what_it_holds(calls: list[tuple[str, int, int]]) -> None:
    warm = Warm(runs=6, size=200)
    actors = [Actor(RunView(a_run(f"R{i}"), [b"12345"])) for i in range(10)]
    for call, number, size in calls:
        actor = actors[number]
        if call == "put" and actor.view.run.run_id not in warm:
            warm.put(actor)
        elif call == "grow":
            actor.view.run = replace(actor.view.run, state_bytes=actor.view.run.state_bytes + size)
            warm.measure(actor)
        elif call == "drop":
            warm.drop(actor.view.run.run_id)
        elif call == "use":
            warm.use(actor)
        held = [each for each in actors if each.view.run.run_id in warm]
        assert warm.size == sum(each.view.run.state_bytes + 5 for each in held)
        assert len(warm) == len(held) <= 6
        assert warm.size <= 200 or len(warm) == 1
