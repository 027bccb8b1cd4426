"""Limits that are decided when an event comes in, on an engine whose clock the test sets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from stepwell.core.model import Run, RunStatus, RunView
from stepwell.server.runtime.engine import Engine
from stepwell.server.store.base import RunQuery
from stepwell.server.store.memory import MemoryStore
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.events import parse_events
from stepwell.wire.functions import parse_registration
from stepwell.wire.ops import Op

T0 = 1_700_000_000_000
HOUR = 3_600_000
App = Callable[[CallRequest], Answer]


class SetClock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.time = T0

    def now(self) -> int:
        return self.time


class NoFetcher:
    async def fetch(self, request: object, attempt: int = 0) -> Any:
        raise AssertionError("nothing is fetched here")

    async def close(self) -> None:
        pass


class Caller:
    """Answers at once, as the app says, but for functions that it is told to hold."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.calls: list[CallRequest] = []
        self.open = asyncio.Event()
        self.open.set()

    async def call(self, request: CallRequest) -> Answer:
        self.calls.append(request)
        await self.open.wait()
        return self.app(request)

    def ended(self, run_id: str) -> None:
        pass

    async def close(self) -> None:
        pass


def returned(value: object = None) -> Answer:
    return Answer(kind=AnswerKind.RETURNED, data=msgspec.json.encode(value))


def data_of(events: list[bytes]) -> list[Any]:
    return [msgspec.json.decode(event)["data"] for event in events]


def seen(request: CallRequest) -> Answer:
    """The function returns the data of its events, but for what is large."""
    return returned([{key: each[key] for key in each if key != "pad"} for each in data_of(request.events)])


def function(fn_id: str, event: str | None, **config: object) -> dict[str, object]:
    runtime = {"type": "http", "url": f"http://app/api?fnId={fn_id}&stepId=step"}
    step = {"id": "step", "name": "step", "runtime": runtime, "retries": {"attempts": 0}}
    triggers = [{"event": event}] if event else []
    return {"id": fn_id, "name": fn_id, "triggers": triggers, "steps": {"step": step}, **config}


class Rig:
    def __init__(self, app: App, *functions: dict[str, object]) -> None:
        self.clock = SetClock()
        self.caller = Caller(app)
        self.store = MemoryStore()
        self.engine = Engine(self.store, NoFetcher(), self.caller, clock=self.clock, retry_interval_ms=1)
        self.functions = functions

    async def open(self) -> None:
        await self.engine.open()
        body = {"url": "http://app/api", "appName": "a", "sdk": "js:v1", "framework": "t", "functions": self.functions}
        await self.engine.register(parse_registration(msgspec.json.encode(body)))
        await self.engine.start()

    async def send(self, *events: dict[str, object]) -> list[str]:
        body = msgspec.json.encode([{"name": "x", **event} for event in events])
        found = parse_events(body, "application/json", self.engine.now())
        return await self.engine.ingest(found, self.engine.new_ids(len(found)))

    async def pass_time(self, ms: int) -> None:
        self.clock.time += ms
        self.engine._committer.wake()  # pyright: ignore[reportPrivateUsage]
        await self.settle()

    async def settle(self) -> None:
        """Until nothing is due and nothing is under way, but for calls that are held."""
        for _ in range(400):
            await asyncio.sleep(0)

    async def runs(self, status: str | None = None) -> list[Run]:
        return list(reversed(await self.engine.runs(RunQuery(status=status))))

    async def outputs(self) -> list[Any]:
        return [msgspec.json.decode(run.output or b"null") for run in await self.runs("completed")]

    async def view(self, run_id: str) -> RunView:
        view = await self.engine.view(run_id)
        assert view is not None
        return view


@asynccontextmanager
async def running(app: App, *functions: dict[str, object]) -> AsyncIterator[Rig]:
    rig = Rig(app, *functions)
    await rig.open()
    yield rig
    rig.caller.open.set()
    await rig.engine.drain(1)
    await rig.engine.close()


def n(value: int, **more: object) -> dict[str, object]:
    return {"data": {"n": value}, **more}


def ns(outputs: list[Any]) -> list[list[int]]:
    return [[data["n"] for data in output] for output in outputs]


async def test_a_rate_limit_lets_so_many_pass_at_once_and_then_one_in_each_part_of_the_period() -> None:
    async with running(seen, function("a-f", "x", rateLimit={"limit": 3, "period": "1h"})) as rig:
        await rig.send(*(n(i) for i in range(5)))
        await rig.settle()
        assert ns(await rig.outputs()) == [[0], [1], [2]]
        await rig.pass_time(HOUR // 3 - 1)
        await rig.send(n(5))
        await rig.pass_time(1)
        await rig.send(n(6))
        await rig.send(n(7))
        await rig.settle()
        assert ns(await rig.outputs()) == [[0], [1], [2], [6]]
        assert len(await rig.runs()) == 4


async def test_a_rate_limit_counts_by_its_key_and_not_where_that_is_false() -> None:
    key = "event.data.n > 5 ? false : string(event.data.n)"
    async with running(seen, function("a-f", "x", rateLimit={"limit": 1, "period": "1h", "key": key})) as rig:
        await rig.send(n(1), n(1), n(2), n(9), n(9))
        await rig.settle()
        assert ns(await rig.outputs()) == [[1], [2], [9], [9]]


async def test_idempotency_of_a_function_takes_the_place_of_its_rate_limit_for_24_hours() -> None:
    config = {"idempotency": "event.data.n", "rateLimit": {"limit": 9, "period": "1s"}}
    async with running(seen, function("a-f", "x", **config)) as rig:
        await rig.send(n(1), n(1), n(2))
        await rig.pass_time(24 * HOUR - 1)
        await rig.send(n(1))
        await rig.pass_time(1)
        await rig.send(n(1))
        await rig.settle()
        assert ns(await rig.outputs()) == [[1], [2], [1]]


async def test_an_event_id_starts_a_second_run_24_hours_after_the_end_of_the_first() -> None:
    async with running(seen, function("a-f", "x")) as rig:
        rig.caller.open.clear()
        await rig.send(n(1, id="e"))
        await rig.pass_time(30 * HOUR)
        await rig.send(n(2, id="e"))
        rig.caller.open.set()
        await rig.settle()
        await rig.pass_time(24 * HOUR - 1)
        await rig.send(n(3, id="e"))
        await rig.settle()
        assert ns(await rig.outputs()) == [[1]]
        await rig.pass_time(1)
        await rig.send(n(4, id="e"))
        await rig.settle()
        assert ns(await rig.outputs()) == [[1], [4]]


async def test_a_duplicate_does_not_count_for_the_rate_limit() -> None:
    async with running(seen, function("a-f", "x", rateLimit={"limit": 2, "period": "1h"})) as rig:
        for _ in range(3):
            await rig.send(n(1, id="e"))
        await rig.send(n(2))
        await rig.settle()
        assert ns(await rig.outputs()) == [[1], [2]]


async def test_a_debounced_run_begins_with_the_newest_event_once_none_has_come_for_the_period() -> None:
    async with running(seen, function("a-f", "x", debounce={"period": "10s"})) as rig:
        (first,) = await rig.send(n(1))
        await rig.pass_time(9_999)
        (second,) = await rig.send(n(2))
        [run] = await rig.runs()
        assert (run.status, run.gathering) == (RunStatus.QUEUED, True)
        await rig.pass_time(9_999)
        assert rig.caller.calls == []
        await rig.pass_time(1)
        assert ns(await rig.outputs()) == [[2]]
        assert await rig.engine.runs_of(first) == await rig.engine.runs_of(second) == [run.run_id]
        await rig.send(n(3))
        await rig.pass_time(10_000)
        assert ns(await rig.outputs()) == [[2], [3]]


async def test_a_debounce_ends_with_its_timeout_however_many_events_come() -> None:
    config = {"period": "10s", "timeout": "25s", "key": "event.data.k"}
    async with running(seen, function("a-f", "x", debounce=config)) as rig:
        for i in range(8):
            await rig.send(n(i))
            await rig.pass_time(5_000)
        assert ns(await rig.outputs()) == [[4]]
        await rig.pass_time(5_000)
        assert ns(await rig.outputs()) == [[4], [7]]


async def test_an_older_event_takes_no_newer_ones_place() -> None:
    async with running(seen, function("a-f", "x", debounce={"period": "10s"})) as rig:
        await rig.send(n(1, ts=T0 - 5))
        await rig.pass_time(5_000)
        await rig.send(n(2, ts=T0 - 6))
        await rig.pass_time(5_000)
        assert ns(await rig.outputs()) == [[1]]


async def test_a_batch_begins_when_it_is_full_or_when_its_time_is_over() -> None:
    async with running(seen, function("a-f", "x", batchEvents={"maxSize": 3, "timeout": "10s"})) as rig:
        ids = await rig.send(*(n(i) for i in range(5)))
        await rig.settle()
        assert ns(await rig.outputs()) == [[0, 1, 2]]
        await rig.pass_time(9_999)
        await rig.send(n(3, id=ids[3]))
        assert ns(await rig.outputs()) == [[0, 1, 2]]
        await rig.pass_time(1)
        assert ns(await rig.outputs()) == [[0, 1, 2], [3, 4]]
        [first, second] = await rig.runs()
        assert [await rig.engine.runs_of(event) for event in ids] == [[first.run_id]] * 3 + [[second.run_id]] * 2
        assert first.event_ids == tuple(ids[:3])


async def test_batches_by_key_and_an_event_that_is_not_for_one_runs_alone() -> None:
    config = {"maxSize": 2, "timeout": "10s", "key": "event.data.n % 2.0", "if": "event.data.n < 9"}
    async with running(seen, function("a-f", "x", batchEvents=config)) as rig:
        await rig.send(*(n(i) for i in (1, 2, 9, 3, 4, 5)))
        await rig.settle()
        assert sorted(ns(await rig.outputs())) == [[1, 3], [2, 4], [9]]
        await rig.pass_time(10_000)
        assert sorted(ns(await rig.outputs())) == [[1, 3], [2, 4], [5], [9]]


async def test_a_batch_is_full_at_10_mib() -> None:
    async with running(seen, function("a-f", "x", batchEvents={"maxSize": 100, "timeout": "10s"})) as rig:
        for i in range(5):
            await rig.send({"data": {"n": i, "pad": "x" * 2_900_000}})
        await rig.settle()
        assert ns(await rig.outputs()) == [[0, 1, 2]]
        await rig.pass_time(10_000)
        assert ns(await rig.outputs()) == [[0, 1, 2], [3, 4]]


async def test_a_singleton_skips_what_comes_while_a_run_is_active() -> None:
    config = {"mode": "skip", "key": "event.data.k"}
    async with running(seen, function("a-f", "x", singleton=config)) as rig:
        rig.caller.open.clear()
        ids = await rig.send(n(1), n(2))
        await rig.send({"data": {"n": 3, "k": "other"}})
        await rig.settle()
        assert [run.status.value for run in await rig.runs()] == ["queued", "skipped", "queued"]
        rig.caller.open.set()
        await rig.settle()
        await rig.send(n(4))
        await rig.settle()
        assert ns(await rig.outputs()) == [[1], [3], [4]]
        [skipped] = [await rig.view(run_id) for run_id in await rig.engine.runs_of(ids[1])]
        assert (skipped.run.status, skipped.run.ended_at) == (RunStatus.SKIPPED, T0)


async def test_a_singleton_cancels_the_active_run_for_a_newer_one_but_not_for_its_own_event() -> None:
    async with running(seen, function("a-f", "x", singleton={"mode": "cancel"})) as rig:
        rig.caller.open.clear()
        await rig.send(n(1, id="e"))
        await rig.settle()
        await rig.send(n(1, id="e"))
        await rig.settle()
        assert [run.status.value for run in await rig.runs()] == ["queued"]
        await rig.send(n(2))
        await rig.settle()
        assert [run.status.value for run in await rig.runs()] == ["cancelled", "queued"]
        rig.caller.open.set()
        await rig.settle()
        assert ns(await rig.outputs()) == [[2]]
        [cancelled] = await rig.runs("cancelled")
        assert b"newer run of this singleton" in (cancelled.output or b"")


async def test_a_debounced_singleton_is_skipped_when_it_would_begin() -> None:
    config = {"debounce": {"period": "1s"}, "singleton": {"mode": "skip"}}
    async with running(seen, function("a-f", "x", **config)) as rig:
        rig.caller.open.clear()
        await rig.send(n(1))
        await rig.pass_time(1_000)
        (second,) = await rig.send(n(2))
        [run_id] = await rig.engine.runs_of(second)
        ended = asyncio.ensure_future(rig.engine.wait_run(run_id, 10))
        await rig.pass_time(1_000)
        view = await ended
        assert view is not None
        assert view.run.status is RunStatus.SKIPPED
        rig.caller.open.set()
        await rig.settle()
        await rig.send(n(3))
        await rig.pass_time(1_000)
        assert ns(await rig.outputs()) == [[1], [3]]


async def test_a_run_that_waits_for_events_can_be_cancelled_and_the_next_event_begins_anew() -> None:
    async with running(seen, function("a-f", "x", batchEvents={"maxSize": 3, "timeout": "10s"})) as rig:
        (first,) = await rig.send(n(1))
        [run_id] = await rig.engine.runs_of(first)
        assert await rig.engine.poke(run_id)
        assert await rig.engine.cancel(run_id)
        await rig.send(n(2))
        await rig.pass_time(10_000)
        assert ns(await rig.outputs()) == [[2]]
        assert (await rig.view(run_id)).run.status is RunStatus.CANCELLED


def invoking(target: str, times: int) -> App:
    """``a-p`` invokes ``target`` so many times at once, and returns what came of it."""

    def app(request: CallRequest) -> Answer:
        if request.function_id != "a-p":
            return seen(request)
        if not request.stack[: request.current]:
            invoked = [{"function_id": target, "payload": {"data": {"n": i}}} for i in range(times)]
            ops = [
                Op(op="InvokeFunction", id=f"i{i}", opts=msgspec.Raw(msgspec.json.encode(o)))
                for i, o in enumerate(invoked)
            ]
            return Answer(kind=AnswerKind.OPS, ops=ops, req_version=2)
        memos = {key: msgspec.json.decode(request.steps[key]) for key in request.stack[: request.current]}
        if len(memos) < times:
            return Answer(kind=AnswerKind.OPS, ops=[], req_version=2)
        return returned([memos[key].get("error", memos[key].get("data")) for key in sorted(memos)])

    return app


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"rateLimit": {"limit": 1, "period": "1h"}}, ["done", "InvokedFunctionRateLimited"]),
        ({"idempotency": "'same'"}, ["done", "InvokedFunctionRateLimited"]),
        ({"singleton": {"mode": "skip"}}, ["done", "InvokedFunctionSkipped"]),
        ({"singleton": {"mode": "cancel"}}, ["InvokedFunctionCancelled", "done"]),
        ({"debounce": {"period": "1s"}}, ["InvokedFunctionSuperseded", "done"]),
        ({"batchEvents": {"maxSize": 3, "timeout": "1s"}}, ["done", "done"]),
    ],
)
async def test_who_invokes_a_limited_function_is_told(config: dict[str, object], expected: list[str]) -> None:
    async with running(invoking("a-c", 2), function("a-p", "x"), function("a-c", None, **config)) as rig:
        await rig.send(n(0))
        await rig.settle()
        await rig.pass_time(1_000)
        [parent] = [run for run in await rig.runs("completed") if run.function_id == "a-p"]
        found = msgspec.json.decode(parent.output or b"")
        assert [each.get("name") if isinstance(each, dict) else "done" for each in found] == expected


@pytest.mark.parametrize("size", [2, 3])
async def test_who_invokes_a_batch_that_is_cancelled_is_told(size: int) -> None:
    """Both while the batch is open and once it is full and can not begin, for its app is gone."""
    config = {"batchEvents": {"maxSize": size, "timeout": "1h"}}
    async with running(invoking("a-c", 2), function("a-p", "x"), function("a-c", None, **config)) as rig:
        rig.engine._starter.begin = lambda *_: None  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        await rig.send(n(0))
        await rig.settle()
        [child] = [run for run in await rig.runs() if run.function_id == "a-c"]
        assert child.gathering
        assert await rig.engine.cancel(child.run_id)
        await rig.settle()
        [parent] = await rig.runs("completed")
        assert [each["name"] for each in msgspec.json.decode(parent.output or b"")] == ["InvokedFunctionCancelled"] * 2
