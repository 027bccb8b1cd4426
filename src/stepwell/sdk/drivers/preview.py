"""A response that the function gets while its body still arrives. It decides nothing: the record is what counts.

The function reads along, and no further than to the end of the body: every other step, and the function's return, waits
until the record is made. Timers stand still meanwhile. So the function does nothing that a replay, which has the whole
body at once, would not do in the same order. When the record is not what was shown, because the response broke off and
the request was sent again, the execution is given up and the run replayed from the record.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, Protocol

from stepwell.errors import FetchError, RunAbandoned
from stepwell.sdk.fetching import read_memo
from stepwell.wire.fetch import FetchResponse

_log = logging.getLogger("stepwell")


class Live(Protocol):
    """The body of a response while it arrives, wherever the platform is. ``broken``: it ended without being whole."""

    @property
    def head(self) -> FetchResponse: ...  # noqa: D102
    @property
    def broken(self) -> str | None: ...  # noqa: D102
    async def read(self, offset: int) -> bytes:
        """Bytes from ``offset`` on, once there are some; empty when the rest has to come from the record."""
        ...


class Reader(Protocol):
    """What a preview needs of the execution that it belongs to."""

    @property
    def abandoned(self) -> bool: ...  # noqa: D102
    async def outside(self, work: Awaitable[Any]) -> Any: ...  # noqa: D102
    def parts(self, ref: str, size: int, start: int = 0) -> AsyncGenerator[bytes, None]: ...  # noqa: D102


class Preview:
    """One such response: ``head`` now, the body piece by piece, the record in the end."""

    __slots__ = ("_execution", "_memo", "_over", "hashed", "live")

    def __init__(self, execution: Reader, hashed: str, live: Live) -> None:
        self._execution = execution
        self.hashed = hashed
        self.live = live
        self._memo: bytes | None = None
        self._over = asyncio.Event()

    @property
    def head(self) -> FetchResponse:
        """The response without its body."""
        return self.live.head

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body; it ends once the record is made."""
        offset = 0
        while piece := await self._execution.outside(self.live.read(offset)):
            offset += len(piece)
            yield piece
        found, ref = await self._record()
        if ref is not None:
            async for part in self._execution.parts(ref, found.stored or 0, offset):
                yield part
        elif found.body[offset:]:
            yield found.body[offset:]

    async def elapsed_ms(self) -> float:
        """How long the request took, once that is on record."""
        return (await self._record())[0].elapsed_ms

    async def _record(self) -> tuple[FetchResponse, str | None]:
        """The recorded response, once it is made. Raises ``RunAbandoned`` when the execution has been given up."""
        await self.over()
        if self._memo is None:
            raise RunAbandoned
        return read_memo(self._memo)

    async def over(self) -> None:
        """Wait until the record is made, or the execution has been given up."""
        if not self._execution.abandoned:
            await self._over.wait()

    def end(self, memo: bytes) -> None:
        """The record is made."""
        self._memo = memo
        self._over.set()

    def agrees(self, memo: bytes, run_id: str) -> bool:
        """Whether the record is the response that is being shown."""
        try:
            found, _ = read_memo(memo)
        except FetchError:
            found = None
        head = self.live.head
        if self.live.broken is None and found and (found.status, found.headers) == (head.status, head.headers):
            return True
        _log.warning(
            "run %s: a response that the function was reading broke off (%s); this execution is given up, and the run goes "
            "on from the record",
            run_id,
            self.live.broken or "its record is another one",
        )
        return False


class Recorded:
    """A recorded response with a body that is kept beside the run's state, to be read as a :class:`Preview` is."""

    __slots__ = ("_execution", "_ref", "head")

    def __init__(self, execution: Reader, head: FetchResponse, ref: str) -> None:
        self._execution = execution
        self._ref = ref
        self.head = head

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body, part by part."""
        return self._execution.parts(self._ref, self.head.stored or 0)

    async def elapsed_ms(self) -> float:
        """How long the request took."""
        return self.head.elapsed_ms
