"""Deletes what is older than it has to be kept, in the process that leads, a little at a time: work goes on beside it."""

import asyncio
import logging
from collections.abc import Callable

from stepwell.core.retention import cutoff
from stepwell.server.clock import Clock
from stepwell.server.runtime.loops import end, survived
from stepwell.server.store.base import Cursor, Old, Prune, Store

logger = logging.getLogger("stepwell.engine")

EVERY_S = 60.0
"""Between two passes over all that is old."""
_REST = 4
"""After each batch the store has this many times as long for others as the batch took."""


class Retention:
    """One loop. ``keep_ms``: how long runs are kept after their end, and events that belong to none; None: for ever.

    ``leads``: whether this process is the one to do it.
    """

    def __init__(self, store: Store, clock: Clock, keep_ms: int | None, leads: Callable[[], bool]) -> None:
        self._store = store
        self._clock = clock
        self._keep_ms = keep_ms
        self._leads = leads
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, unless everything is kept."""
        if self._keep_ms is not None:
            self._task = asyncio.get_running_loop().create_task(self._run(self._keep_ms), name="stepwell-retention")

    async def stop(self) -> None:
        """End; a batch that is under way is stored or not."""
        task, self._task = self._task, None
        if task is not None:
            await end([task])

    async def _run(self, keep_ms: int) -> None:
        while True:
            with survived("what is old could not be deleted"):
                if self._leads():
                    found = await prune(self._store, self._clock.now(), keep_ms, go_on=self._leads)
                    if any(found.values()):
                        logger.info("deleted what was old: %s", said(found))
            await asyncio.sleep(EVERY_S)


async def prune(
    store: Store,
    now: int,
    keep_ms: int,
    *,
    dry: bool = False,
    go_on: Callable[[], bool] = lambda: True,
    told: Callable[[int], None] = lambda _: None,
) -> dict[Old, int]:
    """One pass: how many of each were deleted, or would be (``dry``). Ends early when ``go_on`` says no. Raises StoreError.

    ``told``: of how many so far, in all.
    """
    loop = asyncio.get_running_loop()
    before = dict.fromkeys(Old, cutoff(now, keep_ms)) | {Old.KEYS: now}
    counts = dict.fromkeys(Old, 0)
    for what in Old:
        after: Cursor | None = None
        while go_on():
            begun = loop.time()
            found = await store.prune(Prune(what, before[what], after, dry=dry))
            counts[what] += found.count
            told(sum(counts.values()))
            after = found.last
            if after is None:
                break
            await asyncio.sleep(_REST * (loop.time() - begun))
    return counts


def said(counts: dict[Old, int]) -> str:
    """In words: ``7 runs, 12 events, 9 keys, 1 cancellation``."""
    return ", ".join(f"{count:,} {what.value if count != 1 else what.value[:-1]}" for what, count in counts.items())
