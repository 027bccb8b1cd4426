"""Bodies on their way: large ones sent in watched slices, all of them received in chunks, stored and cut on the way."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import ClientResponse

from stepwell.server.fetcher.base import Sink
from stepwell.server.fetcher.budget import Budget
from stepwell.server.fetcher.tee import Tee
from stepwell.server.fetcher.timing import Timing
from stepwell.wire.constants import INLINE_BODY_BYTES, MAX_FETCH_BODY
from stepwell.wire.encodings import DecodedSize, DecodesToMore
from stepwell.wire.fetch import FetchResponse

SLICE_BYTES = 64 * 1024
"""Smaller bodies leave in one write that can not block."""

_BODILESS = frozenset({204, 304})


class TooLarge(Exception):
    """The body is over the cap. ``limit`` in bytes; ``decoded``: it would be, once its codings were undone."""

    def __init__(self, limit: int, *, decoded: bool = False) -> None:
        super().__init__(limit)
        self.limit = limit
        self.decoded = decoded


class _Arriving:
    """A body on its way in. Raises :class:`TooLarge` where it turns out to be a bomb."""

    def __init__(self, response: ClientResponse, limit: int) -> None:
        self._content = response.content
        self._limit = limit
        codings = response.headers.getall("Content-Encoding", None)
        self._decoded = None if codings is None else DecodedSize(codings, limit)

    @property
    def ended(self) -> bool:
        return self._content.at_eof()

    async def read(self) -> bytes:
        chunk = await self._content.readany()
        if self._decoded is not None and self._decoded.feed(chunk):
            try:
                await asyncio.to_thread(self._decoded.measure)
            except DecodesToMore:
                raise TooLarge(self._limit, decoded=True) from None
        return chunk


async def sliced(body: bytes, timing: Timing, watch: asyncio.Timeout, seconds: float) -> AsyncIterator[bytes]:
    """The body in slices; each must be taken by the connection within ``seconds``, or ``watch`` fires.

    Once the server has answered there is no hurry: some answer early and read on, or never do.
    """
    loop = asyncio.get_running_loop()
    timing.uploading = True
    for at in range(0, len(body), SLICE_BYTES):
        if not timing.heard:
            watch.reschedule(loop.time() + seconds)
        yield body[at : at + SLICE_BYTES]
    if not timing.heard:
        watch.reschedule(None)
    timing.uploading = False


async def read_body(
    response: ClientResponse, limit: int, budget: Budget, tee: Tee | None = None, head: FetchResponse | None = None
) -> tuple[bytes, int | None]:
    """The body as it came over the wire, still encoded; or nothing and the size of one that was stored as it arrived.

    Raises :class:`NotStored`, and :class:`TooLarge` as soon as it is known to be over ``limit``, as it comes or decoded. A body
    that takes more than one read goes to ``tee`` too, after its ``head``; one over ``INLINE_BODY_BYTES`` is stored where the
    tee has a place for it. One that is large, or says that it will be, is read on when ``budget`` has room for what it takes in
    memory.
    """
    announced = _announced(response)
    if announced > limit:
        raise TooLarge(limit)
    content = _Arriving(response, limit)
    begun = await content.read()
    if len(begun) > limit:
        raise TooLarge(limit)
    if content.ended:
        return begun, None
    if tee is not None and head is not None:
        tee.begin(head)
        tee.write(begun)
    if announced <= INLINE_BODY_BYTES:
        begun = await _collect(content, [begun], min(limit, INLINE_BODY_BYTES), tee, stop=True)
        if content.ended and len(begun) <= limit:
            return begun, None
        if len(begun) > limit:
            raise TooLarge(limit)
    sink = tee.store(head) if tee is not None and head is not None else None
    if sink is not None:
        async with budget.held(sink.holds):
            return b"", await _store(content, begun, sink, limit, tee)
    whole = limit if tee is None else min(limit, MAX_FETCH_BODY)
    async with budget.held(announced or whole):
        return await _collect(content, [begun], whole, tee), None


async def _collect(
    content: _Arriving, chunks: list[bytes], limit: int, tee: Tee | None, *, stop: bool = False
) -> bytes:
    """All that comes after ``chunks``, and they. Over the limit it stops, or raises :class:`TooLarge`."""
    size = sum(map(len, chunks))
    while size <= limit and not content.ended:
        chunk = await content.read()
        size += len(chunk)
        chunks.append(chunk)
        if tee is not None:
            tee.write(chunk)
    if size > limit and not stop:
        raise TooLarge(limit)
    return b"".join(chunks)


async def _store(content: _Arriving, begun: bytes, sink: Sink, limit: int, tee: Tee | None) -> int:
    """Store what has begun and all that follows; the size."""
    size = len(begun)
    await sink.write(begun)
    while not content.ended:
        chunk = await content.read()
        size += len(chunk)
        if size > limit:
            raise TooLarge(limit)
        if tee is not None:
            tee.write(chunk)
        await sink.write(chunk)
    return await sink.end()


def _announced(response: ClientResponse) -> int:
    """The body's length by its header; 0 where nothing is said, or no body follows."""
    if response.method == "HEAD" or response.status in _BODILESS:
        return 0
    return response.content_length or 0
