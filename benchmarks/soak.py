"""``make soak``: events through several servers on one PostgreSQL, whose tables hold very many runs that wait.

Prints the memory of each server, the delay until work was claimed, and the time of a transaction, as they go; then what the
database needs for each row. It fails when anything was lost. Not part of the tests.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import aiohttp

from benchmarks import soak_tables, storage
from benchmarks.peers import started
from benchmarks.several import Platform, platform, sync
from stepwell.server.host import new_loop

_A_REQUEST = 50
_AHEAD = 300
"""Events that are under way at most: more would only measure how long they queue."""
_REPLIES = 500
"""One event in so many wakes a run that waits."""
_WAIT_S = 600.0


@dataclass(slots=True)
class Totals:
    """What a server has said of itself: sums and counts of its metrics."""

    delay: float = 0.0
    delays: float = 0.0
    spent: float = 0.0
    transactions: float = 0.0

    def since(self, old: "Totals") -> "Totals":
        """What has come to it."""
        delay, delays = self.delay - old.delay, self.delays - old.delays
        return Totals(delay, delays, self.spent - old.spent, self.transactions - old.transactions)


@dataclass(slots=True)
class Soak:
    """The load, and what has become of it."""

    session: aiohttp.ClientSession
    peer: str
    servers: Sequence[Platform]
    events: int
    waiting: int
    sent: int = 0
    replies: int = 0
    ended: int = 0
    memory: list[list[float]] = field(default_factory=list[list[float]])
    """MB of each server, line by line."""

    async def send(self) -> None:
        """Send all events, to one server after the other, not too far ahead."""
        requests = iter(range(0, self.events, _A_REQUEST))

        async def sender() -> None:
            for first in requests:
                while self.sent - self.ended > _AHEAD:
                    await asyncio.sleep(0.02)
                await self._post(first)

        await asyncio.gather(*(sender() for _ in range(2 * len(self.servers))))

    async def _post(self, first: int) -> None:
        count = min(_A_REQUEST, self.events - first)
        body: list[dict[str, object]] = [{"name": "bench-step", "data": {"n": first + n}} for n in range(count)]
        if self.waiting and first % _REPLIES == 0:
            place = self.replies % self.waiting
            self.replies += 1
            body.append({"name": soak_tables.REPLY, "data": {"n": place}})
        server = self.servers[first // _A_REQUEST % len(self.servers)]
        async with self.session.post(f"{server.url}/e/bench", json=body) as response:
            response.raise_for_status()
        self.sent += count

    async def watch(self) -> None:
        """Keep count of what has ended."""
        while True:
            async with self.session.get(f"{self.peer}/ended") as response:
                self.ended = int(await response.text())
            await asyncio.sleep(0.05)

    async def print_lines(self, every: float) -> None:
        """A line each ``every`` seconds."""
        names = " ".join(f"{f'server {number}':>9}" for number in range(1, len(self.servers) + 1))
        print(f"{'s':>6} {'runs':>9} {'runs/s':>7} {names}  MB   claimed after   transaction", flush=True)
        began, before, ended = time.monotonic(), [await self._totals(server) for server in self.servers], self.ended
        while True:
            await asyncio.sleep(every)
            now = [await self._totals(server) for server in self.servers]
            self.memory.append([memory_of(server) for server in self.servers])
            passed = [new.since(old) for new, old in zip(now, before, strict=True)]
            claimed = _mean([(one.delay, one.delays) for one in passed]) * 1000
            spent = _mean([(one.spent, one.transactions) for one in passed]) * 1000
            megabytes = " ".join(f"{figure:9.1f}" for figure in self.memory[-1])
            figures = (
                f"{time.monotonic() - began:6.0f} {self.ended:9,} {(self.ended - ended) / every:7,.0f} {megabytes}"
            )
            print(f"{figures}      {claimed:7.1f} ms    {spent:7.1f} ms", flush=True)
            before, ended = now, self.ended

    async def _totals(self, server: Platform) -> Totals:
        found = Totals()
        async with self.session.get(f"{server.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        for line in lines:
            name, _, figure = line.rpartition(" ")
            if name.startswith("stepwell_queue_delay_seconds_sum"):
                found.delay += float(figure)
            elif name.startswith("stepwell_queue_delay_seconds_count"):
                found.delays += float(figure)
            elif name.startswith("stepwell_store_transaction_duration_seconds_sum"):
                found.spent += float(figure)
            elif name.startswith("stepwell_store_transaction_duration_seconds_count"):
                found.transactions += float(figure)
        return found


def memory_of(server: Platform) -> float:
    """Resident memory, MB."""
    with open(f"/proc/{server.pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def _mean(parts: Sequence[tuple[float, float]]) -> float:
    total, count = sum(part for part, _ in parts), sum(count for _, count in parts)
    return total / count if count else 0.0


async def soak(peer: str, events: int, waiting: int, servers: int, every: float) -> bool:
    """Whether everything is there in the end."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(storage.database())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        running = [await stack.enter_async_context(platform(url)) for _ in range(servers)]
        await sync(session, [server.url for server in running], peer)
        if waiting:
            took = await soak_tables.fill(session, url, running[0].url, waiting)
            print(f"{waiting:,} waiting runs stored in {took:.0f} s", flush=True)
        load = Soak(session, peer, running, events, waiting)
        tasks = [asyncio.create_task(load.watch()), asyncio.create_task(load.print_lines(every))]
        began, log = time.monotonic(), await soak_tables.logged(url)
        try:
            await load.send()
            lost = await soak_tables.until_ended(url, events, load.replies, waiting, _WAIT_S)
        finally:
            for task in tasks:
                task.cancel()
        print(f"{events:,} events and {load.replies:,} replies in {time.monotonic() - began:.0f} s", flush=True)
        print(f"{(await soak_tables.logged(url) - log) / events:,.0f} bytes of write-ahead log for a run of one step")
        for line in [*_growth(load.memory), *await soak_tables.sizes(url), *(lost or ["nothing was lost"])]:
            print(line, flush=True)
        return not lost


def _growth(memory: list[list[float]]) -> list[str]:
    """By how much each server has grown since a quarter of the time had passed."""
    if len(memory) < 4:
        return []
    grown = [new - old for old, new in zip(memory[len(memory) // 4], memory[-1], strict=True)]
    return [f"server {number}: {more:+.1f} MB since a quarter of the time" for number, more in enumerate(grown, 1)]


def main() -> int:
    """Run it; 1 when something was lost."""
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--every", type=float, default=10.0)
    options = parser.parse_args()
    storage.chosen = "postgresql"
    with started() as peer, asyncio.Runner(loop_factory=new_loop) as runner:
        return 0 if runner.run(soak(peer, options.events, options.waiting, options.servers, options.every)) else 1


if __name__ == "__main__":
    sys.exit(main())
