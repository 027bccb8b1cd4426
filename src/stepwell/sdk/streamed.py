"""Responses of ``step.fetch(..., stream=True)``: their body is read from the record part by part, and never held."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

import httpx2


class AsyncBody(httpx2.AsyncByteStream):
    """A body whose parts come from ``begin``."""

    def __init__(self, begin: Callable[[], AsyncGenerator[bytes, None]]) -> None:
        self._begin = begin

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Part by part."""
        async for part in self._begin():
            yield part


class SyncBody(httpx2.SyncByteStream):
    """The same for ``def`` functions."""

    def __init__(self, begin: Callable[[], Iterator[bytes]]) -> None:
        self._begin = begin

    def __iter__(self) -> Iterator[bytes]:
        """Part by part."""
        yield from self._begin()


def whole_body(data: bytes) -> httpx2.ByteStream:
    """A small body, which came with the record."""
    return httpx2.ByteStream(data)
