"""Bodies on their way: large ones sent in watched slices, all of them received in chunks and cut at the cap."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import ClientResponse

from stepwell.server.fetcher.tee import Tee
from stepwell.server.fetcher.timing import Timing
from stepwell.wire.fetch import FetchResponse

SLICE_BYTES = 64 * 1024
"""Smaller bodies leave in one write that can not block."""

_BODILESS = frozenset({204, 304})


class TooLarge(Exception):
    """The body is over the cap. ``limit`` in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


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
    response: ClientResponse, limit: int, tee: Tee | None = None, head: FetchResponse | None = None
) -> bytes:
    """The body as it came over the wire, still encoded. Raises :class:`TooLarge` as soon as it is known to be.

    One that takes more than one read goes to ``tee`` too, after its ``head``.
    """
    if _announced(response) > limit:
        raise TooLarge(limit)
    content = response.content
    chunks = [await content.readany()]
    size = len(chunks[0])
    if tee is not None and head is not None and not content.at_eof():
        tee.begin(head)
        tee.write(chunks[0])
    while size <= limit and not content.at_eof():
        chunk = await content.readany()
        size += len(chunk)
        chunks.append(chunk)
        if tee is not None:
            tee.write(chunk)
    if size > limit:
        raise TooLarge(limit)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _announced(response: ClientResponse) -> int:
    """The body's length by its header; 0 where nothing is said, or no body follows."""
    if response.method == "HEAD" or response.status in _BODILESS:
        return 0
    return response.content_length or 0
