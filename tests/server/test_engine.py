"""The engine on a memory store, with apps and an upstream that the test scripts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from stepwell.core.model import RunStatus, RunView
from stepwell.server.runtime.engine import Engine
from stepwell.server.store.memory import MemoryStore
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.events import parse_events
from stepwell.wire.fetch import FetchOutcome, FetchRequest, FetchResponse
from stepwell.wire.functions import parse_registration
from stepwell.wire.ops import Op

App = Callable[[CallRequest], Awaitable[Answer]]


class ScriptedCaller:
    def __init__(self, app: App) -> None:
        self.app = app
        self.calls: list[CallRequest] = []
        self.over: list[str] = []

    async def call(self, request: CallRequest) -> Answer:
        self.calls.append(request)
        return await self.app(request)

    def ended(self, run_id: str) -> None:
        self.over.append(run_id)

    async def close(self) -> None:
        pass


class ScriptedFetcher:
    def __init__(self) -> None:
        self.flying = 0
        self.most = 0
        self.sent: list[FetchRequest] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.aborted = 0

    async def fetch(self, request: FetchRequest, attempt: int = 0) -> FetchOutcome:
        self.flying += 1
        self.most = max(self.most, self.flying)
        self.sent.append(request)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.aborted += 1
            raise
        finally:
            self.flying -= 1
        return FetchResponse(status=200, url=request.url, body=b"ok")

    async def close(self) -> None:
        pass


def gateway(name: str, race: bool = False) -> Op:
    opts = {"url": f"http://h/{name}", "method": "GET", "headers": {}}
    if race:
        opts["parallelMode"] = "race"
    return Op(op="Gateway", id=name, opts=msgspec.Raw(msgspec.json.encode(opts)))


def ops(*items: Op) -> Answer:
    return Answer(kind=AnswerKind.OPS, ops=list(items), req_version=2)


def returned(value: object = None) -> Answer:
    return Answer(kind=AnswerKind.RETURNED, data=msgspec.json.encode(value))


def registration(concurrency: object = None, retries: int = 2) -> bytes:
    runtime = {"type": "http", "url": "http://app/api?fnId=a-f&stepId=step"}
    step = {"id": "step", "name": "step", "runtime": runtime, "retries": {"attempts": retries}}
    function: dict[str, object] = {"id": "a-f", "name": "f", "triggers": [{"event": "x"}], "steps": {"step": step}}
    if concurrency is not None:
        function["concurrency"] = concurrency
    return msgspec.json.encode(
        {"url": "http://app/api", "appName": "a", "sdk": "js:v1", "framework": "t", "functions": [function]}
    )


class Rig:
    def __init__(self, app: App, store: MemoryStore | None = None) -> None:
        self.caller = ScriptedCaller(app)
        self.fetcher = ScriptedFetcher()
        self.store = store or MemoryStore()
        self.engine = Engine(self.store, self.fetcher, self.caller, retry_interval_ms=1)

    async def send(self, data: object = None, event_id: str | None = None) -> list[str]:
        event: dict[str, object] = {"name": "x", "data": data or {}}
        if event_id:
            event["id"] = event_id
        events = parse_events(msgspec.json.encode([event]), "application/json", self.engine.now())
        ids = await self.engine.ingest(events, self.engine.new_ids(1))
        return await self.engine.runs_of(ids[0])

    async def finish(self, run_id: str) -> RunView:
        view = await self.engine.wait_run(run_id, 10)
        assert view is not None
        assert view.run.status.ended, "the run hangs"
        return view


@asynccontextmanager
async def running(app: App, concurrency: object = None, retries: int = 2) -> AsyncIterator[Rig]:
    rig = Rig(app)
    await rig.engine.open()
    await rig.engine.register(parse_registration(registration(concurrency, retries)))
    await rig.engine.start()
    yield rig
    await rig.engine.drain(1)
    await rig.engine.close()


async def test_an_event_becomes_a_run_with_a_durable_fetch() -> None:
    async def app(request: CallRequest) -> Answer:
        if request.current == 0:
            return ops(gateway("g"))
        memo = msgspec.json.decode(request.steps["g"])
        return returned(memo["data"]["body"])

    async with running(app) as rig:
        [run_id] = await rig.send()
        view = await rig.finish(run_id)
        assert view.run.status is RunStatus.COMPLETED
        assert view.run.output == b'"ok"'
        assert len(rig.fetcher.sent) == 1
        assert [call.attempt for call in rig.caller.calls] == [0, 0]


@pytest.mark.parametrize("race", [False, True])
async def test_concurrency_counts_every_request_in_flight(race: bool) -> None:
    async def app(request: CallRequest) -> Answer:
        if request.current < 12:
            left = [n for n in range(12) if f"g{n}" not in request.stack[: request.current]]
            return ops(*(gateway(f"g{n}", race) for n in left))
        return returned(request.current)

    async with running(app, concurrency=3) as rig:
        [run_id] = await rig.send()
        view = await rig.finish(run_id)
        assert view.run.status is RunStatus.COMPLETED
        assert rig.fetcher.most <= 3
        assert len(rig.fetcher.sent) == 12


async def test_the_same_event_id_starts_one_run() -> None:
    async def app(request: CallRequest) -> Answer:
        return returned()

    async with running(app) as rig:
        assert len(await rig.send(event_id="one")) == 1
        assert await rig.send(event_id="one") == []


async def test_cancelling_a_run_aborts_its_requests() -> None:
    async def app(request: CallRequest) -> Answer:
        return ops(gateway("g"))

    async with running(app) as rig:
        rig.fetcher.gate.clear()
        [run_id] = await rig.send()
        while not rig.fetcher.flying:
            await asyncio.sleep(0.001)
        assert await rig.engine.cancel(run_id)
        view = await rig.finish(run_id)
        assert view.run.status is RunStatus.CANCELLED
        while rig.fetcher.flying:
            await asyncio.sleep(0.001)
        assert rig.fetcher.aborted == 1
        assert rig.caller.over == [run_id]
        assert not await rig.engine.cancel(run_id)


async def test_an_unconnected_app_holds_its_runs_without_counting_attempts() -> None:
    async def app(request: CallRequest) -> Answer:
        return returned()

    rig = Rig(app)
    await rig.engine.open()
    body = registration().replace(b'"http://app/api"', b'"http://in-process.invalid/a"')
    await rig.engine.register(parse_registration(body))
    await rig.engine.start()
    [run_id] = await rig.send()
    view = None
    while view is None or view.run.error is None:
        await asyncio.sleep(0.005)
        view = await rig.engine.view(run_id)
    assert "not connected" in view.run.error
    [item] = await rig.store.list_items(run_id)
    assert item.attempt == 0
    await rig.engine.close()


async def test_failing_calls_are_retried_then_the_run_fails() -> None:
    async def app(request: CallRequest) -> Answer:
        return Answer(kind=AnswerKind.ERROR, error=ErrorInfo(name="Boom", message="no"))

    async with running(app, retries=2) as rig:
        [run_id] = await rig.send()
        view = await rig.finish(run_id)
        assert view.run.status is RunStatus.FAILED
        assert [call.attempt for call in rig.caller.calls] == [0, 1, 2]


async def test_checkpoints_are_recorded_while_the_call_is_in_flight() -> None:
    async def app(request: CallRequest) -> Answer:
        if not checked:
            step = Op(op="StepRun", id="c", data=msgspec.Raw(b"7"))
            checked.append(await rig.engine.checkpoint(request.run_id, [step], request.generation))
            checked.append(await rig.engine.checkpoint(request.run_id, [step], request.generation + 5))
            return ops(gateway("g"))
        return returned(list(request.stack[: request.current]))

    checked: list[str] = []
    async with running(app) as rig:
        [run_id] = await rig.send()
        view = await rig.finish(run_id)
        assert checked == ["ok", "stale"]
        assert view.run.output == b'["c","g"]'
        assert len(rig.caller.calls) == 2
        assert await rig.engine.checkpoint("01JQDAE4RQF8MBCR55T5AK4KXS", [], 0) == "unknown"


async def test_work_of_a_dead_engine_goes_on_in_the_next() -> None:
    async def app(request: CallRequest) -> Answer:
        return ops(gateway("g")) if request.current == 0 else returned(1)

    store = MemoryStore()
    first = Rig(app, store)
    await first.engine.open()
    await first.engine.register(parse_registration(registration()))
    await first.engine.start()
    first.fetcher.gate.clear()
    [run_id] = await first.send()
    while not first.fetcher.flying:
        await asyncio.sleep(0.001)
    keys = [dict(request.headers) for request in first.fetcher.sent]
    first.engine.worker.room = lambda: 0  # type: ignore[method-assign]
    await first.engine.drain(0)
    second = Rig(app, store)
    await second.engine.open()
    await second.engine.start()
    view = await second.finish(run_id)
    assert view.run.status is RunStatus.COMPLETED
    assert [dict(request.headers) for request in second.fetcher.sent] == keys
    await second.engine.close()
    await first.engine.close()
