"""Who subscribes to what in this process. Publishing never waits: a reader that falls too far behind is sent away."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable

import msgspec

from stepwell.wire.realtime import Chunk, Message, Topic, message

MAX_PENDING = 4_000
MAX_PENDING_BYTES = 4 << 20
"""What one reader may have before it; beyond either it is closed."""
SLOW = "the reader was too slow: connect again"
STOPPING = "the platform stops: connect again"


class Frame(msgspec.Struct, frozen=True):
    """One message as JSON, or bytes that are passed on as they came (``raw``)."""

    body: bytes
    raw: bool = False


class Subscription:
    """What one reader has still to get. ``closed``: why nothing more comes after that."""

    def __init__(self, topics: Iterable[Topic]) -> None:
        self.topics = frozenset((topic.channel, topic.name) for topic in topics)
        self.closed: str | None = None
        self._pending: deque[Frame] = deque()
        self._bytes = 0
        self._bell = asyncio.Event()

    def put(self, frame: Frame) -> bool:
        """One more; False when the reader is too slow for it."""
        if len(self._pending) >= MAX_PENDING or self._bytes + len(frame.body) > MAX_PENDING_BYTES:
            return False
        self._pending.append(frame)
        self._bytes += len(frame.body)
        self._bell.set()
        return True

    def close(self, reason: str) -> None:
        """Nothing more comes."""
        self.closed = self.closed or reason
        self._bell.set()

    async def next(self, seconds: float) -> Frame | None:
        """The next one; None when none came in so many seconds, or no more comes (``closed``)."""
        if not self._pending and self.closed is None:
            self._bell.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._bell.wait()
        if not self._pending:
            return None
        frame = self._pending.popleft()
        self._bytes -= len(frame.body)
        return frame


class Hub:
    """All methods belong to the engine's loop."""

    def __init__(self) -> None:
        self.closed = False
        self._channels: dict[str, dict[str, set[Subscription]]] = {}

    def subscribe(self, topics: Iterable[Topic]) -> Subscription:
        """A new reader, which gets what is published from now on."""
        reader = Subscription(topics)
        if self.closed:
            reader.close(STOPPING)
            return reader
        for channel, name in reader.topics:
            self._channels.setdefault(channel, {}).setdefault(name, set()).add(reader)
        return reader

    def leave(self, reader: Subscription) -> None:
        """A reader has gone."""
        for channel, name in reader.topics:
            topics = self._channels.get(channel, {})
            readers = topics.get(name, set())
            readers.discard(reader)
            if not readers:
                topics.pop(name, None)
            if not topics:
                self._channels.pop(channel, None)

    def watched(self, channel: str) -> bool:
        """Whether anybody reads anything of a channel."""
        return channel in self._channels

    def publish(self, sent: Message | Chunk) -> None:
        """Hand a message to those who read its topic now."""
        readers = self._channels.get(sent.channel, {}).get(sent.topic)
        if readers:
            self._hand(set(readers), Frame(msgspec.json.encode(sent)))

    def tee(self, channel: str, data: bytes) -> None:
        """Hand bytes as they are to everybody who reads anything of the channel."""
        readers = {reader for found in self._channels.get(channel, {}).values() for reader in found}
        self._hand(readers, Frame(data, raw=True))

    def close(self) -> None:
        """The platform stops: nobody waits any longer."""
        self.closed = True
        for reader in [reader for topics in self._channels.values() for found in topics.values() for reader in found]:
            reader.close(STOPPING)
        self._channels.clear()

    def _hand(self, readers: set[Subscription], frame: Frame) -> None:
        for reader in readers:
            if not reader.put(frame):
                reader.close(SLOW)
                self.leave(reader)


def closing(reason: str, now: int) -> Frame:
    """The last message of a reader that is sent away."""
    return Frame(msgspec.json.encode(message("closing", "", "", msgspec.Raw(msgspec.json.encode(reason)), now)))
