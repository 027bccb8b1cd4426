"""A text that is published piece by piece: where it comes from, and how pieces are gathered so that they are not too many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import cast

from stepwell.wire.realtime import MAX_CHUNK

Pieces = AsyncIterable[str] | Iterable[str]
TextSource = Pieces | Callable[[], Pieces]
"""Texts that come one after the other, or a function (an async generator, say) that makes them when the step is run."""

_FIRST_S = 0.05
_GROWTH = 1.005
"""Pieces are gathered a little longer after each one that was sent: a thousand of them, the most, last for 24 minutes."""
_END = object()


def opened(source: object) -> Pieces:
    """The texts of a :data:`TextSource`. Raises ``ValueError`` for what is none."""
    found = source() if callable(source) else source
    if isinstance(found, str | bytes) or not isinstance(found, AsyncIterable | Iterable):
        raise ValueError(
            "stream= is an iterator of texts, or a function that returns one; a whole text goes into data="
        )
    return cast("Pieces", found)


async def gathered(pieces: Pieces, taken: list[str]) -> AsyncIterator[str]:
    """The texts in pieces of at most 1 KiB, the first one at once. All that was read is added to ``taken``.

    Raises what the source raises; ``ValueError`` when it yields anything but a text.
    """
    queue: asyncio.Queue[object] = asyncio.Queue(64)
    loop = asyncio.get_running_loop()
    pump = loop.create_task(_pump(pieces, queue))
    ready, due, pause = "", 0.0, _FIRST_S
    try:
        while (piece := await _next(queue, due if ready else None)) is not _END:
            if isinstance(piece, str):
                taken.append(piece)
                ready += piece
            while ready and (loop.time() >= due or len(ready.encode()) >= MAX_CHUNK):
                head = _head(ready)
                ready = ready[len(head) :]
                yield head
                due, pause = loop.time() + pause, pause * _GROWTH
        while ready:
            head = _head(ready)
            ready = ready[len(head) :]
            yield head
        await pump
    finally:
        pump.cancel()
        await asyncio.wait([pump])


async def _next(queue: asyncio.Queue[object], due: float | None) -> object:
    """The next piece; None when there is none by then."""
    try:
        async with asyncio.timeout_at(due):
            return await queue.get()
    except TimeoutError:
        return None


def _head(text: str) -> str:
    """As much of its beginning as goes into one piece."""
    return text.encode()[: MAX_CHUNK - 3].decode(errors="ignore")


async def _pump(pieces: Pieces, queue: asyncio.Queue[object]) -> None:
    """All in one task, for the source's sake; one that blocks, in a thread."""
    try:
        if isinstance(pieces, AsyncIterable):
            async for piece in pieces:
                await queue.put(_text(piece))
        else:
            each = iter(pieces)
            while (piece := await asyncio.to_thread(next, each, _END)) is not _END:
                await queue.put(_text(piece))
    except Exception:
        await queue.put(_END)
        raise
    await queue.put(_END)


def _text(piece: object) -> str:
    if isinstance(piece, str):
        return piece
    raise ValueError(f"a stream that is published yields texts, and this one yielded {type(piece).__name__}")
