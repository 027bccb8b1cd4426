"""The memory of all bodies that arrive: never above its bound, in order, given back by whoever gives up."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.server.fetcher.budget import Budget
from stepwell.server.fetcher.client import AiohttpFetcher, Limits
from stepwell.server.fetcher.guard import Guard
from stepwell.server.fetcher.tee import Tee
from stepwell.server.streams import Streams
from stepwell.wire.fetch import FetchOutcome, FetchRequest, FetchResponse
from tests.server.hostile_server import Exchange, hostile

MIB = 1 << 20
SIZE = 24 * MIB
"""More than sockets hold."""


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 4), st.booleans()), max_size=20))
def test_never_above_the_bound_and_all_of_it_comes_back(asked: list[tuple[int, int, bool]]) -> None:
    """``asked``: how much, for how many turns of the loop, and whether it is given up somewhere on the way."""
    budget, held, most = Budget(10), 0, 0

    async def one(wanted: int, turns: int) -> None:
        nonlocal held, most
        async with budget.held(wanted):
            held += min(wanted, 10)
            most = max(most, held)
            try:
                for _ in range(turns):
                    await asyncio.sleep(0)
            finally:
                held -= min(wanted, 10)

    async def run() -> None:
        tasks = [asyncio.ensure_future(one(wanted, turns)) for wanted, turns, _ in asked]
        for task, (_, turns, given_up) in zip(tasks, asked, strict=True):
            for _ in range(turns):
                await asyncio.sleep(0)
            if given_up:
                task.cancel()
        async with asyncio.timeout(30):
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
            async with budget.held(10):
                pass

    asyncio.run(run())
    assert most <= 10
    assert held == 0


async def test_who_asks_first_is_served_first() -> None:
    """A large one is not passed over by small ones for ever; one that is larger than all there is gets all there is."""
    budget, order = Budget(4), list[str]()

    async def one(name: str, wanted: int) -> None:
        async with budget.held(wanted):
            order.append(name)
            await asyncio.sleep(0.01)

    await asyncio.gather(one("first", 3), one("large", 4), one("small", 1), one("all", 99))
    assert order == ["first", "large", "small", "all"]


class Place:
    """Takes a body, and forgets it."""

    holds = 2 * MIB

    def __init__(self) -> None:
        self.size = 0

    async def write(self, data: bytes) -> None:
        self.size += len(data)

    async def end(self) -> int:
        return self.size


class Upstream:
    """Sends half of each body, and the rest when it is told to. ``sent``: bytes, by path."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.sent = {"/first": 0, "/second": 0}

    async def send(self, exchange: Exchange) -> None:
        path = exchange.head.split()[1].decode()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        while self.sent[path] < SIZE:
            if path == "/first" and self.sent[path] == SIZE // 2:
                await self.go.wait()
            await exchange.send(bytes(MIB))
            self.sent[path] += MIB

    async def stands_still(self) -> None:
        before: dict[str, int] = {}
        while before != self.sent:
            before = dict(self.sent)
            await asyncio.sleep(0.3)


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("given_up", [True, False])
async def test_while_memory_is_full_upstreams_wait(stored: bool, given_up: bool) -> None:
    """Whether bodies are stored as they arrive or taken whole; until the one before has ended, or is given up."""
    upstream = Upstream()
    fetcher = AiohttpFetcher(Guard(allow_private=True), Limits(arriving=3 * MIB))

    async def attempt(url: str) -> FetchOutcome:
        request = FetchRequest(url=url, rich=True)
        tee = Tee(Streams(), ("R1", url), request, 1, Place) if stored else None
        return await fetcher.fetch_teed(request, 0, tee)

    async with hostile(upstream.send) as server:
        first = asyncio.ensure_future(attempt(f"{server.url}/first"))
        while upstream.sent["/first"] < SIZE // 2:
            await asyncio.sleep(0.01)
        second = asyncio.ensure_future(attempt(f"{server.url}/second"))
        while not upstream.sent["/second"]:
            await asyncio.sleep(0.01)
        await upstream.stands_still()
        assert upstream.sent["/second"] < SIZE
        assert not second.done()
        if given_up:
            first.cancel()
        upstream.go.set()
        outcome = await second
        with suppress(asyncio.CancelledError):
            await first
    await fetcher.close()
    assert isinstance(outcome, FetchResponse)
    assert (outcome.stored or len(outcome.body)) == SIZE
