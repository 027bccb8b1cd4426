"""A large body on its way to the store: piece by piece while it arrives, so that it is never in memory whole."""

import asyncio
import logging
from contextlib import suppress

from stepwell.core.model import ItemRef
from stepwell.server.fetcher.base import NotStored
from stepwell.server.store.base import PIECE_BYTES, Store, StoreError

logger = logging.getLogger("stepwell.engine")

AT_ONCE = 2
"""Pieces of all bodies that may wait for the store at the same time: commits must not queue behind more."""
_RETRIES_S = (0.2, 1.0, 3.0)

_writing: set[asyncio.Task[None]] = set()


class Spill:
    """One body, for the holder of ``claim``. ``gate`` is shared by all bodies.

    A piece is written while the next one arrives; who has two to write waits, and so does the upstream.
    """

    holds = 2 * PIECE_BYTES

    def __init__(self, store: Store, claim: ItemRef, gate: asyncio.Semaphore) -> None:
        self._store = store
        self._claim = claim
        self._gate = gate
        self._buffer = self._other = memoryview(b"")  # taken with the first bytes: until then the body waits for memory
        self._held = 0
        self._start = 0
        self._last: asyncio.Task[None] | None = None

    async def write(self, data: bytes) -> None:
        """More of the body. Raises ``NotStored`` when the store can not take it."""
        rest = memoryview(data)
        self._buffer = self._buffer or memoryview(bytearray(PIECE_BYTES))
        while rest:
            if self._held == PIECE_BYTES:  # the last piece is known by its end
                await self._put()
            part = rest[: PIECE_BYTES - self._held]
            self._buffer[self._held : self._held + len(part)] = part
            self._held += len(part)
            rest = rest[len(part) :]

    async def end(self) -> int:
        """The body is whole, and stored to its last byte: its size. Raises ``NotStored``."""
        if self._held:
            await self._put(last=True)
        if self._last is not None:
            await self._last
        return self._start

    async def _put(self, *, last: bool = False) -> None:
        """Have what is held written, and go on with the buffer that has been."""
        if self._last is not None:
            await self._last
        piece, self._held = self._buffer[: self._held], 0
        self._last = asyncio.get_running_loop().create_task(self._append(self._start, piece, last))
        self._start += len(piece)
        self._buffer, self._other = self._other or memoryview(bytearray(PIECE_BYTES)), self._buffer
        _writing.add(self._last)
        self._last.add_done_callback(_written)

    async def _append(self, start: int, piece: memoryview, last: bool) -> None:
        for delay in (*_RETRIES_S, None):
            try:
                async with self._gate:
                    held = await self._store.append_body(self._claim, start, piece, last=last)
            except StoreError as problem:
                if delay is None:
                    await self._let_go(start)
                    raise NotStored(str(problem)) from problem
                await asyncio.sleep(delay)
                continue
            if not held:
                raise NotStored("the lease of this attempt has ended, and another one has taken over")
            return

    async def _let_go(self, stored: int) -> None:
        """Nothing that can not become whole takes room: on a full disk it would keep even the end of its attempt out."""
        with suppress(StoreError):
            if stored:
                await self._store.append_body(self._claim, 0, b"")


def _written(task: asyncio.Task[None]) -> None:
    """Who has given up the body does not ask any longer how its last piece went."""
    _writing.discard(task)
    if not task.cancelled() and task.exception() is not None:
        logger.warning("a response's body could not be stored: %s", task.exception())
