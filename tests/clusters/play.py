"""One load for all limits: events to all servers at random, one of which may be killed amid; and what was seen of it."""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from stepwell.server.store.base import RunQuery
from tests.clusters.cluster import Cluster, cluster
from tests.clusters.counting_app import Seen

HOSTS: tuple[dict[str, object], ...] = ({"concurrency": 3}, {"rate": "3/s", "burst": 1})
WAVES = 2
"""So often the singletons get a lot of events at once, with an end to their runs after each."""
_SINGLETONS = {"skipping": 8, "taking": 8}
_LOADS = {
    "few": 20,
    "few-of-a-key": 20,
    "of-the-account-one": 10,
    "of-the-account-two": 10,
    "of-the-environment-one": 6,
    "of-the-environment-two": 6,
    "throttled": 28,
    "limited": 16,
    "idempotent": 12,
    "calm": 16,
    "together": 32,
    "few-requests": 4,
    "throttled-requests": 12,
    "narrow-host": 6,
    "paced-host": 14,
    "whole-runs": 12,
    "ranked": 10,
}
_KEYS = 2
"""Every second event has the same key."""


_LONG_AGO_MS = int(time.time() * 1000) - 600_000


class Sent(msgspec.Struct):
    """Events of a name and key: their numbers, and how long it took to send all of them, seconds."""

    numbers: list[int]
    took: float


class Played(msgspec.Struct):
    """What was sent, by name and key; what the app and the upstream saw; how the runs ended, by function and status."""

    sent: dict[str, dict[str, Sent]]
    seen: list[Seen]
    ended: dict[str, dict[str, int]]
    owners: int
    same_ids: list[str]


class _Event(msgspec.Struct):
    name: str
    key: str
    n: int
    id: str
    rank: int = 0

    def shown(self) -> dict[str, object]:
        """A later one of a name and key has a later ``ts``."""
        data = {"key": self.key, "n": self.n, "rank": self.rank * 200}
        return {"name": self.name, "id": self.id, "ts": _LONG_AGO_MS + self.n, "data": data}


def play(folder: Path, size: int, killed: bool, seed: int) -> Played:
    """All of it, on a loop of its own. ``size``: so many times the events of the smallest load."""
    return asyncio.run(_play(folder, size, killed, seed))


async def _play(folder: Path, size: int, killed: bool, seed: int) -> Played:
    async with cluster(folder, HOSTS, seed) as servers:
        order = random.Random(seed)
        events = list(_events(_LOADS, size))
        again = [_Event("sent-again", "0", n, f"again-{n}") for n in range(6 * size)]
        first = _Event("ranked", "first", -1, "first")
        blocking = await _send(servers, [first], order)
        await servers.until_app_has("ranked")
        order.shuffle(events)
        half = len(events) // 2
        early = await _send(servers, [*events[:half], *again * 2], order)
        if killed:
            await servers.kill_one()
        # now, so that who hears the complaint lives to tell of it; one by one, so that all have some
        busy = await _send(servers, list(_events({"busy-host": 8}, size)), order, most=1)
        late = await _send(servers, [*events[half:], *again], order)
        await servers.open_gate()
        waves = [await _wave(servers, wave, order) for wave in range(WAVES)]
        await _until_over(servers)
        times: dict[tuple[str, str], list[tuple[int, float, float]]] = {}
        for at in (blocking, early, busy, late, *waves):
            for event, (began, ended) in at.items():
                times.setdefault((event[0], event[1]), []).append((event[2], began, ended))
        return Played(
            _sent(times), await servers.seen(), await _ended(servers), len(servers.owners), [one.id for one in again]
        )


def _events(loads: dict[str, int], size: int, tag: str = "") -> Iterator[_Event]:
    for name, count in loads.items():
        for n in range(count * size):
            yield _Event(name, str(n % _KEYS), n, f"{name}-{tag}{n}", n % 3)


_Times = dict[tuple[str, str, int], tuple[float, float]]


async def _send(servers: Cluster, events: Sequence[_Event], order: random.Random, most: int = 16) -> _Times:
    """Send them, ``most`` in a request at most, several requests at once; when each was, from before to after."""
    times: _Times = {}
    left = list(events)

    async def some() -> None:
        while left:
            part = [left.pop() for _ in range(min(len(left), order.randint(1, most)))]
            began = time.monotonic()
            await servers.send([event.shown() for event in part])
            for event in part:
                times.setdefault((event.name, event.key, event.n), (began, time.monotonic()))

    await asyncio.gather(*(some() for _ in range(4)))
    return times


async def _wave(servers: Cluster, wave: int, order: random.Random) -> _Times:
    """Events for the singletons while their runs go on; then let those go, and wait for their end."""
    times = await _send(servers, list(_events(_SINGLETONS, 1, f"{wave}-")), order, most=2)
    with suppress(TimeoutError):  # then there are too many, and what they do will show it
        async with asyncio.timeout(30):
            while any([len(await servers.active(name)) > _KEYS for name in _SINGLETONS]):
                await asyncio.sleep(0.1)
    async with asyncio.timeout(60):
        while any([await servers.active(name) for name in _SINGLETONS]):
            await servers.send([{"name": "go", "data": {}}])
            await asyncio.sleep(0.3)
    return times


async def _until_over(servers: Cluster) -> None:
    async with asyncio.timeout(120):
        while not await servers.over():
            await asyncio.sleep(0.2)


def _sent(times: dict[tuple[str, str], list[tuple[int, float, float]]]) -> dict[str, dict[str, Sent]]:
    found: dict[str, dict[str, Sent]] = {}
    for (name, key), each in times.items():
        took = max(ended for _, _, ended in each) - min(began for _, began, _ in each)
        found.setdefault(name, {})[key] = Sent([n for n, _, _ in each], took)
    return found


async def _ended(servers: Cluster) -> dict[str, dict[str, int]]:
    runs = await servers.store.list_runs(RunQuery(limit=20_000))
    found: dict[str, dict[str, int]] = {}
    for run in runs:
        statuses = found.setdefault(run.function_id.removeprefix("counting-"), {})
        statuses[run.status.value] = statuses.get(run.status.value, 0) + 1
    return found
