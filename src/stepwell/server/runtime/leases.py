"""Keeps this process's claims alive, and frees those of processes that died."""

import asyncio
import logging

from stepwell.server.clock import Clock
from stepwell.server.runtime.committer import Committer
from stepwell.server.runtime.loops import end, survived
from stepwell.server.store.base import Store, StoreError

logger = logging.getLogger("stepwell.engine")

LEASE_MS = 15_000
BEAT_S = 5.0
_FOREVER = 2**62


class Leases:
    """One loop: a heartbeat for our claims, and a rescue of claims whose owner's lease has ended."""

    def __init__(self, store: Store, clock: Clock, owner: str, committer: Committer) -> None:
        self._store = store
        self._clock = clock
        self._owner = owner
        self._committer = committer
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Take the lease, free what the dead left; the number of items freed. Raises StoreError."""
        freed = await self._store.rescue(_FOREVER if self._store.exclusive else self._clock.now())
        await self._beat(self._clock.now())
        self._task = asyncio.get_running_loop().create_task(self._run(), name="stepwell-leases")
        return freed

    async def stop(self) -> None:
        """End the loop, and the lease with it: claims that are still held can be rescued at once."""
        if self._task is None:
            return
        await end([self._task])
        try:
            await self._store.heartbeat(self._owner, 0)
        except StoreError as problem:
            logger.error("%s", problem)

    async def _beat(self, now: int) -> None:
        await self._store.heartbeat(self._owner, now + LEASE_MS)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            now = self._clock.now()  # one time for both: who stalls in between must not find its own lease ended
            with survived("a heartbeat failed"):
                await self._beat(now)
                if await self._store.rescue(now):
                    self._committer.wake()
