"""The ways from a process to the apps and upstreams: slow, lossy, repeating. And the upstream, which counts."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

from stepwell.testing.platform.simulation.loop import SimLoop
from stepwell.testing.platform.simulation.script import Do, Function
from stepwell.testing.platform.simulation.stores import SharedStore
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchRequest, FetchResponse
from stepwell.wire.fetch_headers import find

_T = TypeVar("_T")
_GIVES_UP_MS = 10_000


class Network:
    """``troubles``: what goes wrong at the moment, each for one message in two."""

    def __init__(self, loop: SimLoop, rng: Random) -> None:
        self.troubles: Counter[str] = Counter()
        self.repeats = False
        """Whether it has brought anything twice."""
        self._loop = loop
        self._rng = rng

    async def delay(self, most_ms: int = 3) -> None:
        """A short while on the way; sometimes none at all."""
        ms = self._rng.choice((0, 0, 1, most_ms))
        await asyncio.sleep(ms / 1000)

    async def ask(self, arrive: Callable[[], Awaitable[_T]]) -> _T:
        """Send a message and wait for the answer. Raises TimeoutError; ConnectionError when it never arrived."""
        if self._hit("lost"):
            await self.delay(_GIVES_UP_MS)
            raise ConnectionError("it was lost")
        await self.delay(8_000 if self._hit("late") else 3)
        answered: asyncio.Future[_T] = self._loop.create_future()
        twice = self._hit("twice")
        self.repeats |= twice
        for _ in range(2 if twice else 1):
            self._loop.spawn(None, self._arrived(arrive, answered, self._hit("unanswered")))
        async with asyncio.timeout(_GIVES_UP_MS * 6 / 1000):
            return await answered

    async def _arrived(
        self, arrive: Callable[[], Awaitable[_T]], answered: "asyncio.Future[_T]", unanswered: bool
    ) -> None:
        found = await arrive()
        await self.delay(8_000 if self._hit("late") else 3)
        if not unanswered and not answered.done():
            answered.set_result(found)

    def _hit(self, kind: str) -> bool:
        return self.troubles[kind] > 0 and self._rng.random() < 0.5


class Calls:
    """A process's caller: what goes wrong on the way is an answer that says so. ``begins`` is told of each call."""

    def __init__(
        self,
        network: Network,
        call: Callable[[CallRequest], Awaitable[Answer]],
        begins: Callable[[CallRequest], None],
    ) -> None:
        self._network = network
        self._call = call
        self._begins = begins

    async def call(self, request: CallRequest) -> Answer:
        """See :class:`stepwell.server.caller.base.Caller`."""
        self._begins(request)
        try:
            return await self._network.ask(lambda: self._call(request))
        except (TimeoutError, ConnectionError) as problem:
            error = ErrorInfo(name="AppUnreachable", message=str(problem))
            return Answer(kind=AnswerKind.ERROR, error=error, transport=True)

    def ended(self, run_id: str) -> None:
        """Nobody is told."""

    async def close(self) -> None:
        """Nothing to let go of."""


class Fetches:
    """A process's fetcher. ``begins`` is told of each request."""

    def __init__(self, network: Network, upstream: "Upstream", begins: Callable[[FetchRequest], None]) -> None:
        self._network = network
        self._upstream = upstream
        self._begins = begins

    async def fetch(self, request: FetchRequest, attempt: int = 0) -> FetchOutcome:
        """See :class:`stepwell.server.fetcher.base.Fetcher`."""
        self._begins(request)
        try:
            return await self._network.ask(lambda: self._upstream.asked(request, attempt))
        except ConnectionError as problem:
            return FetchBroken(kind="connect", message=str(problem))
        except TimeoutError:
            return FetchBroken(kind="timeout", message="no answer in time", sent=True)

    async def close(self) -> None:
        """Nothing to let go of."""


class Upstream:
    """Counts what arrives: an attempt arrives once more only where its claim was taken from somebody, and with the same key."""

    def __init__(
        self,
        functions: list[Function],
        store: SharedStore,
        network: Network,
        problem: Callable[[str], None],
    ) -> None:
        self._does: dict[str, dict[str, Do]] = {
            function.id: {do.name: do for stage in function.stages for do in stage.does} for function in functions
        }
        self._store = store
        self._network = network
        self._problem = problem
        self._keys: dict[tuple[str, str], str | None] = {}
        self._sent: Counter[tuple[str, str, int]] = Counter()
        self.healthy = False

    async def asked(self, request: FetchRequest, attempt: int) -> FetchOutcome:
        """One request: fails as often as its step says, and takes its time."""
        run_id, step_id = request.url.split("/")[-2:]
        function = self._store.stored(run_id).run.function_id
        do = self._does[function][step_id]
        self._look(request, attempt, (run_id, step_id), once=do.kind == "once")
        await asyncio.sleep(do.ms / 1000)
        status = 503 if attempt < do.fails and not self.healthy else 200
        return FetchResponse(status=status, url=request.url, body=b"ok")

    def _look(self, request: FetchRequest, attempt: int, where: tuple[str, str], once: bool) -> None:
        key = find(request.headers, "idempotency-key")
        if key is None or self._keys.setdefault(where, key) != key:
            self._problem(f"{where} was asked for with the keys {self._keys.get(where)} and {key}")
        self._sent[(*where, attempt)] += 1
        if self._network.repeats:
            return
        sent = self._sent[(*where, attempt)]
        if sent > 1 + (0 if once else self._store.freed[where]):
            self._problem(f"attempt {attempt} of {where} was sent {sent} times, though nobody had died with it")
