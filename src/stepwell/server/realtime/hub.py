"""Who subscribes to what. Publishing never waits for readers: one that falls too far behind is sent away."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable

import msgspec

from stepwell.server.post import Post
from stepwell.wire.realtime import Chunk, Message, Topic, message

MAX_PENDING = 4_000
MAX_PENDING_BYTES = 4 << 20
"""What one reader may have before it; beyond either it is closed."""
SLOW = "the reader was too slow: connect again"
LOST = "messages of other processes may be missing: connect again"
STOPPING = "the platform stops: connect again"

_KIND = "channel"
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[str | None, bytes]).decode


class Frame(msgspec.Struct, frozen=True):
    """One message as JSON, or bytes that are passed on as they came (``raw``)."""

    body: bytes
    raw: bool = False


class Subscription:
    """What one reader has still to get. ``closed``: why nothing more comes after that."""

    def __init__(self, topics: Iterable[Topic]) -> None:
        self.topics = frozenset((topic.channel, topic.name) for topic in topics)
        self.closed: str | None = None
        self.afar = False
        """Whether other processes know of it."""
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
    """All methods belong to the engine's loop. ``post``: to the readers that are connected to other processes."""

    def __init__(self, post: Post | None = None) -> None:
        self.closed = False
        self._channels: dict[str, dict[str, set[Subscription]]] = {}
        self._post = post or Post()
        self._post.takers[_KIND] = self._came

    def subscribe(self, topics: Iterable[Topic]) -> Subscription:
        """A new reader, which gets what is published here from now on."""
        reader = Subscription(topics)
        if self.closed:
            reader.close(STOPPING)
            return reader
        for channel, name in reader.topics:
            self._channels.setdefault(channel, {}).setdefault(name, set()).add(reader)
        return reader

    async def listen(self, reader: Subscription) -> None:
        """From now on it gets as well what is published at other processes. Raises StoreError."""
        await self._post.listen(_keys(reader))
        reader.afar = True

    def leave(self, reader: Subscription) -> None:
        """A reader has gone."""
        if reader.afar:
            reader.afar = False
            self._post.leave(_keys(reader))
        for channel, name in reader.topics:
            topics = self._channels.get(channel, {})
            readers = topics.get(name, set())
            readers.discard(reader)
            if not readers:
                topics.pop(name, None)
            if not topics:
                self._channels.pop(channel, None)

    def watched(self, channel: str) -> bool:
        """Whether anybody reads anything of a channel, here or, as far as is known, elsewhere."""
        return channel in self._channels or self._post.wanted(_KIND + "/" + channel)

    def publish(self, sent: Message | Chunk) -> None:
        """Hand a message to those who read its topic now; to those at other processes soon."""
        body = msgspec.json.encode(sent)
        self._here(sent.channel, sent.topic, Frame(body))
        key = _KIND + "/" + sent.channel
        if self._post.wanted(key):
            self._post.send(key, _pack((sent.topic, body)))

    async def tell(self, sent: Message | Chunk) -> None:
        """The same, and return when it is on its way to other processes. Raises StoreError."""
        body = msgspec.json.encode(sent)
        self._here(sent.channel, sent.topic, Frame(body))
        await self._post.deliver(_KIND + "/" + sent.channel, _pack((sent.topic, body)))

    async def tee(self, channel: str, data: bytes) -> None:
        """Hand bytes as they are to everybody who reads anything of the channel. Raises StoreError."""
        self._here(channel, None, Frame(data, raw=True))
        await self._post.deliver(_KIND + "/" + channel, _pack((None, data)))

    def close(self) -> None:
        """The platform stops: nobody waits any longer."""
        self.closed = True
        for reader in [reader for topics in self._channels.values() for found in topics.values() for reader in found]:
            reader.close(STOPPING)
        self._channels.clear()

    def _here(self, channel: str, topic: str | None, frame: Frame) -> None:
        """``topic``: None for all of the channel."""
        topics = self._channels.get(channel, {})
        for reader in {reader for name, found in topics.items() if topic in (None, name) for reader in found}:
            if not reader.put(frame):
                reader.close(SLOW)
                self.leave(reader)

    def _came(self, key: str, data: bytes | None) -> None:
        channel = key.partition("/")[2]
        if data is not None:
            topic, body = _unpack(data)
            self._here(channel, topic, Frame(body, raw=topic is None))
            return
        for reader in {reader for found in self._channels.get(channel, {}).values() for reader in found}:
            reader.close(LOST)
            self.leave(reader)


def _keys(reader: Subscription) -> set[str]:
    return {f"{_KIND}/{channel}" for channel, _ in reader.topics}


def closing(reason: str, now: int) -> Frame:
    """The last message of a reader that is sent away."""
    return Frame(msgspec.json.encode(message("closing", "", "", msgspec.Raw(msgspec.json.encode(reason)), now)))
