"""Clients that send events over HTTP to several platforms, and what must be true once all is well again.

Each event has an id, and is sent again with it until somebody says that it is stored. Who can not store has to say so.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import aiohttp

from stepwell.server.build import open_store
from stepwell.server.store.base import RunQuery, Store, StoreError
from tests.crash.upstream import Upstream

STEPS, FETCHES = 6, 4
"""Of each run of the load (``tests/crash/load_app.py``)."""
_PAUSE_S = 0.3
ANSWER_S = 40.0
"""No answer of the platform may take longer: ten seconds for the store, thirty for a machine that is busy."""
Fault = Callable[[], Awaitable[None]]


class Clients:
    """``number`` clients, each sending one event after the other, to the platforms at ``urls`` in turn."""

    def __init__(self, urls: Sequence[str], number: int = 4) -> None:
        self._urls = itertools.cycle(urls)
        self._number = number
        self.over = False
        """Each sends one more, and ends."""
        self.stored: dict[str, str] = {}
        """The internal ids of events that a platform has said to be stored."""
        self.refused = 0
        """Answers that said that nothing was stored."""

    async def run(self) -> None:
        """Until it is over, and every event is stored."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for client in range(self._number):
                group.create_task(self._client(session, client))

    async def _client(self, session: aiohttp.ClientSession, client: int) -> None:
        for place in itertools.count():
            last = self.over
            while not await self._send(session, f"{client}-{place}"):
                await asyncio.sleep(0.1)
            if last:
                return
            await asyncio.sleep(_PAUSE_S)

    async def _send(self, session: aiohttp.ClientSession, event_id: str) -> bool:
        event = {"name": "load", "id": event_id, "data": {}}
        async with session.post(f"{next(self._urls)}/e/test", json=event) as answer:
            said = await answer.json()
            if answer.status == 200:
                (self.stored[event_id],) = said["ids"]
                return True
            assert (answer.status, answer.headers.get("retry-after"), said["ids"]) == (503, "1", []), said
            self.refused += 1
            return False


async def recorded(store: Store) -> dict[tuple[str, str], bytes]:
    """The memo of every ended step, by run and name."""
    runs = [run.run_id for run in await store.list_runs(RunQuery(limit=2_000))]
    views = await store.load_runs(runs)
    steps = [step for view in views for step in view.steps.values() if step.ended]
    found = {(step.run_id, step.name): step.memo or b"" for step in steps}
    assert len(found) == len(steps), "a step was recorded twice"
    return found


async def all_done(store: Store, count: int) -> bool:
    """Whether all of the runs have completed; False also while the store can not be asked."""
    try:
        statuses = Counter(run.status.value for run in await store.list_runs(RunQuery(limit=2_000)))
    except StoreError:
        return False
    assert "failed" not in statuses
    return statuses == {"completed": count}


async def under_load(clients: Clients, upstream: Upstream, fault: Fault) -> None:
    """Let the fault happen while the clients send. It begins once work is in flight, and ends when all is well again."""
    sending = asyncio.create_task(clients.run())
    try:
        await upstream.reaches(10)
        await fault()
        clients.over = True
        await asyncio.wait_for(sending, 90)
    finally:
        sending.cancel()


async def check(store: Store, clients: Clients, upstream: Upstream) -> None:
    """Every acknowledged event is there and has one run, every run has each result once, requests have one key each."""
    count = len(clients.stored)
    assert await all_done(store, count)
    assert len(await recorded(store)) == count * STEPS
    for internal_id in clients.stored.values():
        assert await store.get_event(internal_id) is not None, "an event that was acknowledged is not there"
    assert len(upstream.seen) == count * FETCHES, "a request had two idempotency keys"


async def survive(
    clients: Clients, upstream: Upstream, fault: Fault, database: str, seal: str, until: Callable[..., Awaitable[None]]
) -> None:
    """The fault under load; then all of it comes to an end. ``database``: that of the platforms, and ``seal`` its key."""
    await under_load(clients, upstream, fault)
    store = open_store(database, keys=[seal])
    await store.open()
    try:
        await until(lambda: all_done(store, len(clients.stored)), 90)
        await check(store, clients, upstream)
    finally:
        await store.close()
