"""One process of the platform: an engine that can be killed, stopped and stalled at any moment."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

import msgspec

from stepwell.core.flow.hosts import NO_RULES, HostRules
from stepwell.core.inputs import Env
from stepwell.server.caller.base import Caller
from stepwell.server.fetcher.base import Fetcher
from stepwell.server.runtime.engine import Engine
from stepwell.server.store.base import Store
from stepwell.testing.platform.simulation.loop import Place, SimLoop
from stepwell.testing.platform.simulation.script import Function
from stepwell.testing.platform.simulation.stores import Way
from stepwell.wire.functions import Registration, parse_registration
from stepwell.wire.ids import ulid

_T = TypeVar("_T")
EPOCH_MS = 1_893_456_000_000
"""When the loop's time is 0: the beginning of 2030."""


class SimClock:
    """The loop's time, and how far this process's clock is ahead of it."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self.ahead_ms = 0

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return EPOCH_MS + round(self._loop.time() * 1000) + self.ahead_ms


class Ids:
    """ULIDs that are the same every time."""

    def __init__(self) -> None:
        self._made = 0
        self._latest = 0

    def make(self, now: int) -> str:
        """The next one; none is below one before."""
        self._made += 1
        self._latest = max(self._latest, now)
        return ulid(self._latest, self._made.to_bytes(10, "big"))


class SimEngine(Engine):
    """An engine without randomness of its own."""

    def __init__(
        self,
        ids: Ids,
        rng: Random,
        store: Store,
        fetcher: Fetcher,
        http: Caller,
        clock: SimClock,
        hosts: HostRules = NO_RULES,
    ) -> None:
        self._ids = ids
        self._rng = rng
        super().__init__(store, fetcher, http, clock=clock, retry_interval_ms=1_000, hosts=hosts)

    def new_id(self) -> str:
        """As the simulation counts them."""
        return self._ids.make(self.now())

    def _env(self) -> Env:
        return replace(super()._env(), jitter=self._rng.random(), secret=lambda: "secret")


class Process:
    """``make`` builds its engine, in the process's own context."""

    def __init__(self, name: str, loop: SimLoop, clock: SimClock, way: Way, make: Callable[[], Engine]) -> None:
        self.name = name
        self.clock = clock
        self.way = way
        self.place = Place(name)
        self.dead = False
        self.ready = False
        self._loop = loop
        self._context: Context = self.place.context()
        self.engine = self._context.run(make)

    @property
    def up(self) -> bool:
        """Whether it can be asked for something."""
        return self.ready and not self.dead

    async def start(self, functions: Sequence[Function]) -> None:
        """Begin to work. Tries again while the store does not work."""
        await self.ask(self._start(functions))

    async def _start(self, functions: Sequence[Function]) -> None:
        engine = self.engine
        await engine.open()
        await engine.register(registration(functions))
        await engine.start()
        self.ready = True

    async def stop(self) -> None:
        """As it is told to: what is in flight may end, for two seconds."""
        self.ready = False
        await self.ask(self._stop())
        self.kill()

    async def _stop(self) -> None:
        await self.engine.drain(2)
        await self.engine.close()

    def kill(self) -> None:
        """At once, in the middle of whatever it does."""
        self.dead = True
        self.place.stopped = True

    async def ask(self, work: Coroutine[Any, Any, _T], seconds: float = 30) -> _T:
        """Have it do something. Raises TimeoutError where it dies or stalls over it."""
        task = self._loop.spawn(self.place, work)
        await asyncio.wait([task], timeout=seconds)
        if not task.done():
            raise TimeoutError(f"{self.name} gave no answer")
        return task.result()


def registration(functions: Sequence[Function]) -> Registration:
    """What the app of all functions says of itself."""
    listed: list[dict[str, Any]] = []
    for function in functions:
        runtime = {"type": "http", "url": f"http://app/api?fnId={function.id}&stepId=step"}
        step = {"id": "step", "name": "step", "runtime": runtime, "retries": {"attempts": 2}}
        triggers = [{"event": function.event}]
        one = {"id": function.id, "name": function.id, "triggers": triggers, "steps": {"step": step}}
        listed.append(one | function.settings)
    app = {"url": "http://app/api", "appName": "a", "sdk": "js:v1", "framework": "t", "functions": listed}
    return parse_registration(msgspec.json.encode(app))
