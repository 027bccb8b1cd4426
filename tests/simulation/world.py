"""A whole engine on the memory store and a clock that only the test moves; its apps and upstreams answer what the test says.

Nothing here waits for real time: a turn is over once the loop has nothing left to do.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from stepwell.core.inputs import Env
from stepwell.core.model import Run
from stepwell.server.runtime.engine import Engine
from stepwell.server.store.base import RunQuery, StoreError
from stepwell.server.store.memory import MemoryStore
from stepwell.testing.clock import FakeClock
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.events import BadEvents, parse_events
from stepwell.wire.fetch import FetchOutcome, FetchRequest, FetchResponse
from stepwell.wire.functions import parse_registration
from stepwell.wire.ids import ulid
from stepwell.wire.ops import Op

_T = TypeVar("_T")
_TURNS = 60
"""Turns of the loop in which everything that can happen has happened."""
APP = "a"


class SameEngine(Engine):
    """An engine whose ids and jitter are the same every time."""

    made = 0

    def new_id(self) -> str:
        type(self).made += 1
        return ulid(self.now(), type(self).made.to_bytes(10, "big"))

    def _env(self) -> Env:
        return replace(super()._env(), jitter=0.5, secret=lambda: "secret")


class Gone(MemoryStore):
    """What an engine that was killed has left of its store."""

    async def transact(self, *args: Any, **kwargs: Any) -> Any:
        raise StoreError("this process is dead")


class Held(list[tuple[Any, asyncio.Future[Any]]]):
    """Calls or requests in flight, each with the future that ends it."""

    async def hold(self, request: Any) -> Any:
        entry = (request, asyncio.get_running_loop().create_future())
        self.append(entry)
        try:
            return await entry[1]
        finally:
            if entry in self:
                self.remove(entry)

    def end(self, number: int, outcome: Any) -> None:
        _, future = self.pop(number % len(self))
        if not future.done():
            future.set_result(outcome)


class Apps:
    """The app behind every function: it answers when the test says so."""

    def __init__(self) -> None:
        self.flying = Held()

    async def call(self, request: CallRequest) -> Answer:
        return await self.flying.hold(request)

    def ended(self, run_id: str) -> None:
        pass

    async def close(self) -> None:
        pass


class Upstreams:
    """Whatever is asked for: it answers when the test says so."""

    def __init__(self) -> None:
        self.flying = Held()

    async def fetch(self, request: FetchRequest, attempt: int = 0) -> FetchOutcome:
        return await self.flying.hold(request)

    async def close(self) -> None:
        pass


class World:
    """One engine after the other on one store."""

    def __init__(self, functions: list[dict[str, Any]]) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock(datetime(2030, 1, 1, tzinfo=UTC))
        SameEngine.made = 0
        self.store = MemoryStore()
        self.functions = functions
        self.engine: Engine
        self.apps: Apps
        self.upstreams: Upstreams
        self.begin()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        async def turn() -> _T:
            found = await work
            await self._settle()
            return found

        return self.loop.run_until_complete(turn())

    async def _settle(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    def settle(self) -> None:
        self.run(asyncio.sleep(0))

    # life and death

    def begin(self) -> None:
        self.apps, self.upstreams = Apps(), Upstreams()
        self.engine = SameEngine(self.store, self.upstreams, self.apps, clock=self.clock, retry_interval_ms=1_000)

        async def start() -> None:
            await self.engine.open()
            await self.engine.register(parse_registration(self._registration()))
            await self.engine.start()

        self.run(start())

    def kill(self) -> None:
        """As kill -9: nothing is said, nothing more is written."""
        gone = Gone()
        self.engine.store = gone
        self.engine._committer._store = gone
        self.engine._actors._store = gone
        self.engine._leases._store = gone
        self._cancel_all()
        self.begin()

    def stop(self) -> None:
        """As Ctrl-C: what was decided is written."""
        self.run(self.engine.close())
        self.begin()

    def end(self) -> None:
        self._cancel_all()
        self.loop.close()

    def _cancel_all(self) -> None:
        async def cancel() -> None:
            others = sorted(asyncio.all_tasks() - {asyncio.current_task()}, key=lambda task: task.get_name())
            for task in others:
                task.cancel()
            if others:
                await asyncio.wait(others)

        self.loop.run_until_complete(cancel())

    def _registration(self) -> bytes:
        functions: list[dict[str, Any]] = []
        for function in self.functions:
            runtime = {"type": "http", "url": f"http://app/api?fnId={function['id']}&stepId=step"}
            step = {"id": "step", "name": "step", "runtime": runtime, "retries": {"attempts": 2}}
            functions.append({"name": function["id"], "steps": {"step": step}, **function})
        return msgspec.json.encode(
            {"url": "http://app/api", "appName": APP, "sdk": "js:v1", "framework": "t", "functions": functions}
        )

    # what can be done to it

    def send(self, event: dict[str, Any]) -> None:
        async def send() -> None:
            try:
                events = parse_events(msgspec.json.encode([event]), "application/json", self.engine.now())
                await self.engine.ingest(events, self.engine.new_ids(len(events)))
            except (BadEvents, StoreError):
                pass  # refused: nothing was promised

        self.run(send())

    def tell(self, work: Coroutine[Any, Any, Any]) -> None:
        async def told() -> None:
            try:
                async with asyncio.timeout(5):
                    await work
            except StoreError:
                pass

        self.run(told())

    def advance(self, by: int) -> None:
        self.clock.jump(self.clock.now() + by)
        self.engine._committer.wake()
        self.settle()

    # what is there

    def runs(self) -> list[Run]:
        return self.loop.run_until_complete(self.store.list_runs(RunQuery(limit=100_000)))

    def waits(self) -> list[tuple[str, str]]:
        """Run and step of everything that waits for an event or a signal."""
        return list(self.store._waits)

    def items(self, run_id: str) -> list[Any]:
        return self.loop.run_until_complete(self.store.list_items(run_id))


def returned(value: object = None) -> Answer:
    return Answer(kind=AnswerKind.RETURNED, data=msgspec.json.encode(value), req_version=2)


def op(code: str, step_id: str, data: object = None, **members: Any) -> Op:
    """An op; ``error`` and ``opts`` as Python values."""
    raw = {
        key: msgspec.Raw(msgspec.json.encode(value)) if key in {"error", "opts"} else value
        for key, value in members.items()
    }
    return Op(op=code, id=step_id, data=msgspec.Raw(msgspec.json.encode(data)), **raw)


def well(request: CallRequest) -> Answer:
    """What an app answers that does its work: a step's result, or the end."""
    if request.is_discovery:
        return returned("done")
    return Answer(kind=AnswerKind.OPS, ops=[op("StepRun", request.step_id, "ok")], req_version=2)


def fine(request: FetchRequest) -> FetchResponse:
    """What an upstream answers that does its work."""
    return FetchResponse(status=200, url=request.url, body=b"ok")
