"""Keeps up with the other processes on the same store: work that they leave, apps that they sync, what they cancel.

The store tells of it; what it tells may be lost, so all of it is looked at from time to time as well.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from stepwell.core.model import RunView
from stepwell.server.runtime.committer import Committer
from stepwell.server.store.base import APPS, CANCELLATIONS, WORK, Store, StoreError, Watched
from stepwell.wire.constants import DISCOVERY

logger = logging.getLogger("stepwell.engine")

WORK_S = 2.0
OTHERS_S = 10.0


class Peers:
    """Does nothing where the store is ours alone. ``reload``: what to do for each topic but work."""

    def __init__(self, store: Store, committer: Committer, reload: dict[str, Callable[[], Awaitable[None]]]) -> None:
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
            task.cancel()
            await asyncio.wait([task], timeout=5)

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
                self._told.update((APPS, CANCELLATIONS))
            while self._told:
                topic = min(self._told)  # in an order that is the same every time, for the simulation
                self._told.remove(topic)
                await self._look(topic)

    async def _look(self, topic: str) -> None:
        reload = self._reload.get(topic)
        if reload is None:
            return
        try:
            await reload()
        except StoreError as problem:
            logger.error("%s", problem)
        except Exception:
            logger.exception("what other processes stored could not be read")


async def has_call(store: Store, run_id: str, generation: int) -> bool:
    """Whether another process has this call of the run in flight. Raises StoreError."""
    if store.exclusive:
        return False
    items = await store.list_items(run_id)
    return any(item.key == DISCOVERY and item.claim == generation for item in items)


async def poll_run(store: Store, run_id: str, timeout_s: float) -> RunView | None:
    """The run once it has ended, by whatever process, or as it is when time runs out. Raises StoreError."""
    loop, pause = asyncio.get_running_loop(), 0.05
    end = loop.time() + timeout_s
    while True:
        views = await store.load_runs([run_id])
        left = end - loop.time()
        if not views or views[0].run.status.ended or left <= 0:
            return views[0] if views else None
        await asyncio.sleep(min(pause, left))
        pause = min(2 * pause, 1.0)
