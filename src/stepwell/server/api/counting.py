"""What is in the store, in figures, for ``/metrics`` and ``/health`` together."""

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec

from stepwell.core.flow.holding import Holding
from stepwell.server.api.facade import EngineFacade
from stepwell.server.store.base import Counts

HEALTH_TIMEOUT_S = 5.0
KEPT = 50
"""A count holds for so many times as long as it took: counting takes one part in fifty of the store's time at most."""


class Counted(msgspec.Struct, frozen=True):
    """What the store had at ``at``, ms since 1970."""

    counts: Counts
    held: Sequence[Holding]
    at: int


class Counting:
    """Counts what is in the store: it takes long where there are millions of rows. Never twice at once.

    ``clock``: seconds, never set back. ``patience_s``: how long somebody waits for a new count before the last one has to do.
    """

    def __init__(
        self,
        engine: EngineFacade,
        now: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = HEALTH_TIMEOUT_S,
    ) -> None:
        self._engine = engine
        self._now = now
        self._clock = clock
        self._patience_s = patience_s
        self._task: asyncio.Task[Counted] | None = None
        self._last: Counted | None = None
        self._holds_until = 0.0

    async def figures(self) -> Counted:
        """The last count while it holds, else a new one. Raises StoreError; TimeoutError where there is neither in time."""
        if self._last is not None and self._clock() < self._holds_until:
            return self._last
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._count(), name="stepwell-count")
        counting = self._task
        done, _ = await asyncio.wait([counting], timeout=self._patience_s)
        if done:
            return counting.result()
        if self._last is None:
            raise TimeoutError
        return self._last

    async def _count(self) -> Counted:
        began, at = self._clock(), self._now()
        self._last = Counted(await self._engine.counts(), await self._engine.held(0), at)
        ended = self._clock()
        self._holds_until = ended + KEPT * (ended - began)
        return self._last
