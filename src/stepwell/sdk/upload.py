"""Request bodies of no known length: read to be recorded, and bounded, for one may never end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from stepwell.errors import StepUsageError

LONGEST = 256 * 1024 * 1024
"""Bytes that are read of one."""


def too_long(size: int) -> str:
    """What is said of a request body that has more than ``size`` bytes, or that never ends."""
    return (
        f"the request's body does not end within {size} bytes, and a durable request is recorded whole: send less, or "
        "upload it inside of step.run"
    )


def bound(request: Any) -> None:
    """Let a request of httpx's family be read only so far, where it does not say how long its body is.

    Reading on raises ``StepUsageError``.
    """
    if hasattr(request, "_content") or not hasattr(request, "stream"):
        return
    if "transfer-encoding" in request.headers:
        stream = request.stream
        request.stream = _Sync(stream) if hasattr(stream, "__iter__") else _Async(stream)


class _Sync:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for part in self._stream:
            size = _more(size, part)
            yield part


class _Async:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size = _more(size, part)
            yield part


def _more(size: int, part: bytes) -> int:
    if not isinstance(part, bytes | bytearray | memoryview):  # pyright: ignore[reportUnnecessaryIsInstance] - users may err
        kind = type(part).__name__
        raise TypeError(
            f"a request's body is bytes, a text or an iterable of bytes: this one has a piece of type {kind}"
        )
    if size + len(part) > LONGEST:
        raise StepUsageError(too_long(LONGEST))
    return size + len(part)
