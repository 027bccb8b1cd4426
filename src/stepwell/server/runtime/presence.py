"""Writes down that this process is there, for people: where it runs, since when, what it works on."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import NamedTuple

from stepwell.server.clock import Clock
from stepwell.server.runtime.loops import end, survived
from stepwell.server.store.base import Store, StoreError, WorkerRecord
from stepwell.wire.constants import VERSION

logger = logging.getLogger("stepwell.engine")

BEAT_S = 5.0
GONE_MS = 20_000
"""A process whose newest beat is older counts as gone: it died, or does not reach the database."""
FORGET_MS = 3_600_000
"""So long after its newest beat the record of a process that is gone is deleted, by the beat of another."""


class About(NamedTuple):
    """What changes of a process: see :class:`WorkerRecord`."""

    apps: tuple[str, ...] = ()
    items: int = 0
    leads: bool = False
    stopping: bool = False


class Presence:
    """One loop with a beat. ``about``: how this process is right now."""

    def __init__(self, store: Store, clock: Clock, worker_id: str, about: Callable[[], About]) -> None:
        self._store = store
        self._clock = clock
        self._worker_id = worker_id
        self._about = about
        self._started_at = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """The first beat, then one every few seconds. Raises StoreError."""
        self._started_at = self._clock.now()
        await self._beat()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="stepwell-presence")

    async def stop(self) -> None:
        """End the beat, and take the record away."""
        task, self._task = self._task, None
        if task is None:
            return
        await end([task])
        try:
            await self._store.drop_worker(self._worker_id)
        except StoreError as problem:
            logger.error("%s", problem)

    async def _beat(self) -> None:
        now = self._clock.now()
        record = WorkerRecord(
            worker_id=self._worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=VERSION,
            started_at=self._started_at,
            beat_at=now,
            **self._about()._asdict(),
        )
        await self._store.beat(record, now - FORGET_MS)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            with survived("this process could not be written down"):
                await self._beat()
