"""Moves what the log (WAL) holds into the file while large bodies arrive, on a thread and a connection of its own.

Without it the writer does so every 16 MiB, and the body waits for the disk twice. Nothing depends on it: what is left, the
writer moves.
"""

import asyncio
import logging
import sqlite3
from pathlib import Path

from stepwell.server.store.base import StoreError
from stepwell.server.store.sqlite.connect import connect_reader
from stepwell.server.store.sqlite.lane import Lane

logger = logging.getLogger("stepwell.store")

EVERY_BYTES = 16 * 1024 * 1024


class Checkpointer:
    """Told of what is stored; runs once for every ``EVERY_BYTES`` of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lane = Lane[sqlite3.Connection](path, "stepwell-checkpoint")
        self._bytes = 0
        self._started = False
        self._task: asyncio.Task[None] | None = None

    def stored(self, size: int) -> None:
        """So many bytes went into the log."""
        self._bytes += size
        if self._bytes >= EVERY_BYTES and (self._task is None or self._task.done()):
            self._bytes = 0
            self._task = asyncio.get_running_loop().create_task(self._run(), name="stepwell-checkpoint")

    async def stop(self) -> None:
        """Let the one under way end, and close the connection."""
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._lane.stop(sqlite3.Connection.close)

    async def _run(self) -> None:
        try:
            if not self._started:
                await self._lane.start(lambda: connect_reader(self._path))
                self._started = True
            await self._lane.do(_checkpoint)
        except StoreError as problem:
            logger.warning("%s", problem)


def _checkpoint(conn: sqlite3.Connection) -> None:
    """PASSIVE: neither waits for readers and the writer, nor has them wait."""
    conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
