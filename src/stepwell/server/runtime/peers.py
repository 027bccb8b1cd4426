"""Keeps up with the other processes on the same store: work that they leave, apps that they sync, what they cancel and pause.

The store tells of it; what it tells may be lost, so all of it is looked at from time to time as well.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from stepwell.core.model import RunView
from stepwell.server.runtime.actors import Actor
from stepwell.server.runtime.committer import Committer
from stepwell.server.runtime.loops import end, survived
from stepwell.server.store.base import WORK, Store, Watched
from stepwell.wire.constants import DISCOVERY

WORK_S = 2.0
OTHERS_S = 10.0
_FIRST_S = 0.025
_LOOK_S = 1.0
_HERE_S = 5.0
"""While the run is worked on here: another process takes it over when this one has lost its lease alone."""


class Peers:
    """Does nothing where the store is ours alone. ``reload``: what to do for each topic but work."""

    def __init__(self, store: Store, committer: Committer, reload: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
        self._store = store
        self._committer = committer
        self._reload = reload
        self._told: set[str] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen, and to look."""
        if self._store.exclusive:
            return
        if isinstance(self._store, Watched):
            self._store.watch(self._hear)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="stepwell-peers")

    async def stop(self) -> None:
        """End."""
        task, self._task = self._task, None
        if task is not None:
            await end([task])

    def _hear(self, topic: str) -> None:
        if topic == WORK:
            self._committer.wake()
        else:
            self._told.add(topic)
            self._wake.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), WORK_S)
            except TimeoutError:
                self._committer.wake()
            self._wake.clear()
            if loop.time() - looked > OTHERS_S:
                looked = loop.time()
                self._told.update(self._reload)
            while self._told:
                topic = min(self._told)  # in an order that is the same every time, for the simulation
                self._told.remove(topic)
                await self._look(topic)

    async def _look(self, topic: str) -> None:
        reload = self._reload.get(topic)
        if reload is None:
            return
        with survived("what other processes stored could not be read"):
            await reload()


async def has_call(store: Store, run_id: str, generation: int) -> bool:
    """Whether another process has this call of the run in flight. Raises StoreError."""
    if store.exclusive:
        return False
    items = await store.list_items(run_id)
    return any(item.key == DISCOVERY and item.claim == generation for item in items)


async def wait_ended(actor: Actor, store: Store, timeout_s: float) -> RunView | None:
    """The run once it has ended, or as it is when time runs out; None when it is gone. Raises StoreError.

    It is told when the run ends here, and looks whether it has ended in another process: seldom while it is worked on here.
    """
    loop, pause = asyncio.get_running_loop(), _FIRST_S
    end = loop.time() + timeout_s
    while not actor.view.run.status.ended:
        left = end - loop.time()
        if left <= 0:
            break
        pause = _HERE_S if actor.busy or actor.inflight else min(2 * pause, _LOOK_S)
        if not await _ends(actor, left if store.exclusive else min(pause, left)) and not store.exclusive:
            views = await store.load_runs([actor.view.run.run_id])
            if not views or views[0].run.status.ended:
                return views[0] if views else None
    return actor.view


async def _ends(actor: Actor, seconds: float) -> bool:
    """Whether the run has ended here within this time."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    actor.waiters.append(ended)
    try:
        await asyncio.wait([ended], timeout=seconds)
    finally:
        if ended in actor.waiters:
            actor.waiters.remove(ended)
    return ended.done()
