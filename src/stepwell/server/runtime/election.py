"""Which of the processes on a store leads: it starts crons, and deletes what is old. Work needs no leader.

A row of the store with a time, no lock of a session: it works behind any proxy. Who stalls finds its time over before it goes
on; what it may still have under way then must be right when two do it.
"""

import asyncio
import logging
from collections.abc import Callable

from stepwell.server.clock import Clock
from stepwell.server.runtime.loops import end, survived
from stepwell.server.store.base import Store, StoreError

logger = logging.getLogger("stepwell.engine")

LEASE_MS = 15_000
BEAT_S = 5.0
_FOREVER = 2**62


class Election:
    """One loop that asks for the lead, and for more time when it has it. ``won`` is called when that begins.

    A process that has the store to itself leads from its start to its end.
    """

    def __init__(self, store: Store, clock: Clock, owner: str, won: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._owner = owner
        self._won = won
        self._until = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def leads(self) -> bool:
        """Whether this process leads right now."""
        return self._clock.now() < self._until

    async def start(self) -> None:
        """Ask for it, and begin to ask again and again. Raises StoreError."""
        await self._ask()
        if not self._store.exclusive:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="stepwell-election")

    async def stop(self) -> None:
        """Lead no longer: another one may at once."""
        task, self._task = self._task, None
        if task is not None:
            await end([task])
        if self._until:
            self._until = 0
            try:
                await self._store.resign(self._owner)
            except StoreError as problem:
                logger.error("%s", problem)

    async def _ask(self) -> None:
        now = self._clock.now()
        until = _FOREVER if self._store.exclusive else now + LEASE_MS
        led = self.leads
        if not await self._store.lead(self._owner, now, until):
            self._until = 0
            return
        self._until = until
        if not led:
            self._won()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            with survived("the lead could not be asked for"):
                await self._ask()
