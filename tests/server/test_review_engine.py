"""The engine when the order of things is unlucky: nothing hangs, is sent twice, counted twice, or kept for ever."""

import asyncio
import logging
from collections.abc import Sequence

import msgspec
import pytest

from stepwell.core.model import Item, RunStatus
from stepwell.core.outputs import Commit
from stepwell.server.caller.inprocess import InProcessCaller
from stepwell.server.clock import SystemClock
from stepwell.server.host import new_loop
from stepwell.server.runtime.committer import Committer
from stepwell.server.runtime.warm import Warm
from stepwell.server.store.base import ClaimRequest, StoreError, Transacted
from stepwell.server.store.memory import MemoryStore
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.events import event_ids, parse_events
from stepwell.wire.functions import parse_registration
from stepwell.wire.ops import Op
from tests.server.test_engine import Rig, gateway, ops, registration, returned, running


class SlowStore(MemoryStore):
    """Answers transactions only while ``gate`` is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.released: list[object] = []

    async def transact(self, commits: Sequence[Commit], claim: ClaimRequest | None = None) -> Transacted:
        result = await super().transact(commits, claim)
        if commits:
            await self.gate.wait()
        return result

    async def release(self, refs: Sequence[object]) -> None:  # type: ignore[override]
        self.released += refs
        await super().release(refs)  # type: ignore[arg-type]


async def test_the_same_event_sent_again_still_finds_its_run() -> None:
    async def app(request: CallRequest) -> Answer:
        return returned()

    async with running(app) as rig:
        now = rig.engine.now()
        events = parse_events(b'[{"name":"x"}]', "application/json", now)
        ids = event_ids("1743130137367,eii2YKXRVTJPuA==", 1, now, [])
        await rig.engine.ingest(events, ids)
        [run_id] = await rig.engine.runs_of(ids[0])
        await rig.engine.ingest(events, ids)
        assert await rig.engine.runs_of(ids[0]) == [run_id]


async def test_work_that_is_claimed_while_the_engine_stops_is_given_back() -> None:
    async def app(request: CallRequest) -> Answer:
        return returned()

    store = SlowStore()
    rig = Rig(app, store)
    await rig.engine.open()
    await rig.engine.register(parse_registration(registration()))
    await rig.engine.start()
    store.gate.clear()
    sending = asyncio.ensure_future(rig.send())
    while not (await store.counts()).claimed:
        await asyncio.sleep(0)
    assert await rig.engine.drain(0.1)
    closing = asyncio.ensure_future(rig.engine.close())
    store.gate.set()
    await sending
    await closing
    assert rig.caller.calls == []
    assert len(store.released) == 1
    assert (await store.counts()).queued == 1


async def test_a_reader_who_gives_up_waiting_is_forgotten() -> None:
    async def app(request: CallRequest) -> Answer:
        return ops(Op(op="Sleep", id="z", name="1h"))

    async with running(app) as rig:
        [run_id] = await rig.send()
        waiting = asyncio.ensure_future(rig.engine.wait_run(run_id, 60))
        actor = None
        while actor is None or not actor.waiters:
            await asyncio.sleep(0)
            actor = rig.engine._actors.peek(run_id)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert actor.waiters == []


async def test_an_outcome_that_nobody_can_take_up_does_not_stop_the_rest() -> None:
    def bad(_: object) -> None:
        raise RuntimeError("no")

    taken: list[Item] = []
    committer = Committer(MemoryStore(), SystemClock(), "me", lambda: 10, taken.extend)
    committer.start()
    committer.submit((Commit(now=1),), bad)
    async with asyncio.timeout(30):
        assert len(await committer.write((Commit(now=1),))) == 1
        await committer.stop()


async def test_a_store_that_fails_at_claiming_is_not_asked_in_a_loop(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "stepwell.store")

    class Bad(MemoryStore):
        asked = 0

        async def transact(self, commits: Sequence[Commit], claim: ClaimRequest | None = None) -> Transacted:
            self.asked += 1
            if claim is not None:
                raise ValueError("a row that can not be read")
            return await super().transact(commits, claim)

    store = Bad()
    committer = Committer(store, SystemClock(), "me", lambda: 10, lambda _: None)
    committer.start()
    async with asyncio.timeout(30):
        assert len(await committer.write((Commit(now=1),))) == 1, "the claim's fault is not the commit's"
    for _ in range(200):
        await asyncio.sleep(0)
    assert store.asked < 10
    committer.claiming = False
    await committer.stop()


async def test_a_program_that_goes_away_costs_no_attempt() -> None:
    async def execute(request: CallRequest) -> Answer:
        raise AssertionError

    gone = new_loop()
    gone.close()
    caller = InProcessCaller(execute, gone)
    async with asyncio.timeout(30):
        for _ in range(2):
            assert (await caller.call(CallRequest(function_id="f", run_id="r", events=[]))).gone
        caller.ended("r")


async def test_code_that_raises_cancelled_is_an_error_not_a_shut_down() -> None:
    async def execute(request: CallRequest) -> Answer:
        raise asyncio.CancelledError

    caller = InProcessCaller(execute, asyncio.get_running_loop())
    async with asyncio.timeout(30):
        answer = await caller.call(CallRequest(function_id="f", run_id="r", events=[]))
    assert answer.error is not None
    assert not answer.gone


async def test_an_app_that_went_away_is_called_again_with_the_same_attempt() -> None:
    async def app(request: CallRequest) -> Answer:
        if len(rig.caller.calls) == 1:
            return Answer(kind=AnswerKind.ERROR, error=ErrorInfo(name="AppStopped", message="away"), gone=True)
        return returned()

    async with running(app, retries=0) as rig:
        [run_id] = await rig.send()
        view = await rig.finish(run_id)
        assert view.run.status is RunStatus.COMPLETED
        assert [call.attempt for call in rig.caller.calls] == [0, 0]


async def test_actors_at_work_do_not_keep_idle_ones_in_memory() -> None:
    async def app(request: CallRequest) -> Answer:
        event = msgspec.json.decode(request.events[0])
        return ops(gateway("g")) if event["data"].get("long") else ops(Op(op="Sleep", id="z", name="1h"))

    async with running(app) as rig:
        actors = rig.engine._actors
        actors._warm = Warm(runs=40)
        rig.fetcher.gate.clear()
        for _ in range(20):
            await rig.send({"long": True})
        for _ in range(200):
            await rig.send()
            await asyncio.sleep(0.001)
        assert len(actors) <= 80
        rig.fetcher.gate.set()


async def test_a_store_that_fails_for_a_while_loses_no_result() -> None:
    class Flaky(MemoryStore):
        broken = 0

        async def transact(self, commits: Sequence[Commit], claim: ClaimRequest | None = None) -> Transacted:
            if any(step.memo for commit in commits for step in commit.steps) and self.broken < 2:
                self.broken += 1
                raise StoreError("disk full")
            return await super().transact(commits, claim)

    async def app(request: CallRequest) -> Answer:
        return ops(gateway("g")) if request.current == 0 else returned(1)

    rig = Rig(app, Flaky())
    await rig.engine.open()
    await rig.engine.register(parse_registration(registration()))
    await rig.engine.start()
    [run_id] = await rig.send()
    view = await rig.finish(run_id)
    assert view.run.status is RunStatus.COMPLETED
    assert len(rig.fetcher.sent) == 1
    await rig.engine.close()
