"""Bodies beside the state as a store keeps them that may not read them: sealed in pieces, read in part."""

import asyncio
from collections.abc import Callable
from functools import partial

from stepwell.core.model import ItemRef
from stepwell.server.crypto import pieces
from stepwell.server.crypto.seal import Sealer
from stepwell.server.store.base import PIECE_BYTES, Data, Piece, Store
from stepwell.server.store.sealed_records import IN_A_THREAD, opening, piece_place

_BUFFERS = 2
_ROWS = 1_000


class SealedBodies:
    """Reads and writes the bodies of ``inner``. ``keys`` gives the keys once there are some."""

    def __init__(self, inner: Store, keys: Callable[[], Sealer]) -> None:
        self._inner = inner
        self._keys = keys
        self._rows: dict[str, int] = {}
        """How long the pieces of bodies are, for those that were read lately: it never changes."""
        self._buffers: list[bytearray] = []

    async def load(self, ref: str, start: int, end: int | None) -> bytes | None:
        """See :meth:`Store.load_body`."""
        length = self._rows.get(ref)
        if length is not None:
            return await self._load_row(ref, length, start, end)
        head = await self._inner.load_body(ref, 0, pieces.HEAD)
        if head and head.startswith(pieces.IN_A_ROW):
            length = pieces.length_of(head)
            self._remember(ref, length)
            return await self._load_row(ref, length, start, end)
        wanted = head and pieces.part(head, start, end)
        if not wanted:
            return await self._inner.load_body(ref, start, end)
        return await self._load_part(ref, wanted, 0, ref.encode())

    async def append(self, claim: ItemRef, start: int, data: Piece, *, last: bool) -> bool:
        """See :meth:`Store.append_body`."""
        buffer = self._buffers.pop() if self._buffers else bytearray(pieces.sealed_size(PIECE_BYTES))
        keys, place = self._keys(), piece_place(claim.body, start)

        def sealed() -> Data:
            plain = data() if callable(data) else data
            return memoryview(buffer)[: pieces.seal_into(buffer, keys, plain, place, pieces.IN_A_ROW)]

        where = start // PIECE_BYTES * pieces.sealed_size(PIECE_BYTES)
        held = await self._inner.append_body(claim, where, sealed, last=last)
        if len(self._buffers) < _BUFFERS:  # not where this was given up: a thread may still read it
            self._buffers.append(buffer)
        return held

    def _remember(self, ref: str, length: int) -> None:
        """And forget the oldest."""
        if len(self._rows) >= _ROWS:
            del self._rows[next(iter(self._rows))]
        self._rows[ref] = length

    async def _load_row(self, ref: str, length: int, start: int, end: int | None) -> bytes | None:
        """Part of a body that was stored in pieces of ``length`` bytes."""
        if end is not None and end <= start:
            return b""
        first, size = start // length, pieces.sealed_size(length)
        if end is not None and (end - 1) // length == first:
            head = await self._inner.load_body(ref, first * size, first * size + pieces.HEAD)
            wanted = head and pieces.part(head, start - first * length, end - first * length)
            place = piece_place(ref, first * length)
            return (await self._load_part(ref, wanted, first * size, place)) if wanted else head
        stop = None if end is None else -(-end // length) * size
        sealed = await self._inner.load_body(ref, first * size, stop)
        if not sealed:
            return sealed
        opened = partial(pieces.open_row, self._keys(), sealed, length, start, end, partial(piece_place, ref))
        return await asyncio.to_thread(opening, opened)

    async def _load_part(self, ref: str, part: pieces.Part, base: int, place: bytes) -> bytes | None:
        """``part`` of the sealed value that is stored from ``base`` on."""
        sealed = await self._inner.load_body(ref, base + part.start, base + part.end)
        if sealed is None:
            return None
        opened = partial(part.open, self._keys(), sealed, place)
        if len(sealed) < IN_A_THREAD:
            return opening(opened)
        return await asyncio.to_thread(opening, opened)
