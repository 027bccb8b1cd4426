"""The bodies that arrive right now, for whoever reads along: in memory, bounded, and never in a fetch's way."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from stepwell.server.bell import Bell
from stepwell.wire.fetch import FetchResponse

WINDOW_BYTES = 1 << 20
"""How much of a body is kept for readers: who falls further behind goes on from the record."""
WINDOWS_BYTES = 32 << 20
"""All windows together: where more bodies arrive at once each keeps its share, and ``_LEAST`` at least."""
_LEAST = 64 * 1024
Key = tuple[str, str]
"""Run id and step id."""


class Channel:
    """The body of one attempt while it arrives, as received. Written and read on the engine's loop.

    ``mark``: when the attempt began (ms), which names it. ``head``: the response without its body. ``broken``: what
    happened when the attempt ended without a whole body. ``window``: how much is kept, by now. ``start``: bytes before it were
    never here.
    """

    __slots__ = ("_bell", "_chunks", "_start", "broken", "ended", "head", "mark", "size", "window")

    def __init__(self, mark: int, head: FetchResponse, start: int = 0) -> None:
        self.mark = mark
        self.head = head
        self.size = start
        self.ended = False
        self.broken: str | None = None
        self.window: Callable[[], int] = lambda: WINDOW_BYTES
        self._start = start
        self._chunks: deque[bytes] = deque()
        self._bell = Bell()

    @property
    def start(self) -> int:
        """The first byte that can still be read."""
        return self._start

    def write(self, data: bytes) -> None:
        """More of the body; what leaves the window is dropped for slow readers."""
        self._chunks.append(data)
        self.size += len(data)
        window = self.window()
        while self.size - self._start > window and len(self._chunks) > 1:
            self._start += len(self._chunks.popleft())
        self._bell.ring()

    def end(self, broken: str | None = None) -> None:
        """The attempt is over."""
        if not self.ended:
            self.broken, self.ended = broken, True
            self._bell.ring()

    async def read(self, offset: int, seconds: float | None = None) -> bytes:
        """The bytes from ``offset`` on, once there are some.

        Empty: nothing more comes from here (the attempt is over, or the reader fell behind the window), or ``seconds``
        have passed.
        """
        if self._start <= offset == self.size and not self.ended:
            await self._bell.wait(seconds)
        return self._from(offset) if self._start <= offset else b""

    def lost(self, offset: int) -> bool:
        """Whether the bytes at ``offset`` have left the window, or never were."""
        return not self._start <= offset <= self.size

    def _from(self, offset: int) -> bytes:
        skip = offset - self._start
        found: list[bytes] = []
        for chunk in self._chunks:
            if skip < len(chunk):
                found.append(chunk[skip:] if skip else chunk)
            skip = max(0, skip - len(chunk))
        return found[0] if len(found) == 1 else b"".join(found)


Listener = Callable[[str, str, Channel], None]
"""Told of a channel that has just opened: run id, step id, channel. Must return at once."""


class Elsewhere(Protocol):
    """The other processes, at which bodies may arrive as well."""

    async def listen(self, key: Key) -> None:
        """A reader waits for a body that may come there. Raises StoreError."""
        ...

    def leave(self, key: Key) -> None:
        """It has gone."""
        ...


class Streams:
    """The channels of this process. All methods belong to the engine's loop."""

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self.closed = False
        self.afar: Elsewhere | None = None
        """The other processes, where there may be any."""
        self._channels: dict[Key, Channel] = {}
        self._bells: dict[Key, Bell] = {}
        self._lent: set[Key] = set()

    def get(self, key: Key) -> Channel | None:
        """The channel of the attempt in flight."""
        return self._channels.get(key)

    def open(self, key: Key, channel: Channel) -> None:
        """A body has begun to arrive."""
        if key in self._lent:
            self._lent.discard(key)
            self._channels[key].end("it has begun anew")
        self._channels[key] = channel
        channel.window = self._share
        for listener in self.listeners:
            listener(*key, channel)
        self._ring((key,))

    def lend(self, key: Key, channel: Channel) -> bool:
        """A body arrives at another process, which passes it on; False when it arrives here."""
        if key in self._channels and key not in self._lent:
            return False
        self._lent.add(key)
        self._channels[key] = channel
        channel.window = self._share
        self._ring((key,))
        return True

    def give_back(self, key: Key, channel: Channel) -> None:
        """Nothing more comes of it."""
        if key in self._lent and self._channels.get(key) is channel:
            self._lent.discard(key)
            del self._channels[key]
        self._ring((key,))

    def open_here(self) -> list[Key]:
        """Bodies that arrive at this process."""
        return [key for key in self._channels if key not in self._lent]

    def recording(self, key: Key) -> asyncio.Future[bool] | None:
        """To be resolved when the outcome of the attempt is stored; None where nobody could have read along."""
        channel = self._channels.get(key)
        if channel is None and key not in self._bells:
            return None
        recorded: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        recorded.add_done_callback(lambda _: self.drop(key))
        return recorded

    def drop(self, key: Key) -> None:
        """The attempt is on record, or given up: readers look there."""
        channel = self._channels.pop(key, None)
        self._lent.discard(key)
        if channel is not None:
            channel.end("it was given up")
        self._ring((key,))

    async def changed(self, key: Key, seconds: float) -> None:
        """Wait until a channel opens or an outcome is recorded, at most so long."""
        if self.closed:
            return
        bell = self._bells.setdefault(key, Bell())
        try:
            await bell.wait(seconds)
        finally:
            if bell.idle:
                self._bells.pop(key, None)

    def close(self) -> None:
        """The platform stops: no reader waits any longer."""
        self.closed = True
        for key in list(self._channels):
            self.drop(key)
        self._ring(list(self._bells))

    def _share(self) -> int:
        return max(_LEAST, min(WINDOW_BYTES, WINDOWS_BYTES // max(1, len(self._channels))))

    def _ring(self, keys: Iterable[Key]) -> None:
        for key in keys:
            bell = self._bells.get(key)
            if bell is not None:
                bell.ring()
