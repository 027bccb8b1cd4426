"""Bodies that arrive at one process, for readers of another one: passed on while they come, at a bounded pace."""

import asyncio
import logging
from collections.abc import Callable, Collection

import msgspec

from stepwell.server.post import Post
from stepwell.server.runtime.loops import end
from stepwell.server.store.base import StoreError
from stepwell.server.streams import Channel, Key, Streams
from stepwell.wire.fetch import FetchResponse

logger = logging.getLogger("stepwell.engine")

KIND = "stream"
PIECE = 256 * 1024
"""Bytes in one message."""
PACE_S = 0.1
"""Between two messages. A body that comes faster is read from its record, as by every reader that falls behind."""
ALIVE_S = 5.0
"""A message is sent after so long a silence."""
SILENT_S = 20.0
"""After so long the process that receives the body counts as gone."""


class Piece(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """``at``: where ``data`` begins. ``head``: of the first one. ``over``: nothing follows; ``broken``: why it broke off."""

    mark: int
    at: int
    data: bytes = b""
    head: FetchResponse | None = None
    over: bool = False
    broken: str | None = None


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Piece).decode


class Afar:
    """Both ends. All methods belong to the engine's loop."""

    def __init__(self, streams: Streams, post: Post, now: Callable[[], float]) -> None:
        self._streams = streams
        self._post = post
        self._now = now
        self._sending: dict[Key, asyncio.Task[None]] = {}
        self._again: set[Key] = set()
        self._coming: dict[Key, tuple[Channel, float]] = {}
        """Bodies that another process receives, and when it was last heard of."""
        streams.listeners.append(self._opened)
        post.takers[KIND] = self._came
        post.told.append(self._told)

    # readers here

    async def listen(self, key: Key) -> None:
        """A reader waits for a body that may come at another process. Raises StoreError."""
        await self._post.listen([_name(key)])

    def leave(self, key: Key) -> None:
        """It has gone."""
        self._post.leave([_name(key)])

    async def stop(self) -> None:
        """Send nothing more."""
        await end(list(self._sending.values()))

    def tidy(self) -> None:
        """Bodies of processes that are gone break off."""
        for key, (channel, heard) in list(self._coming.items()):
            if heard + SILENT_S < self._now():
                self._end(key, channel, "the process that received it is gone")

    def _came(self, name: str, data: bytes | None) -> None:
        run_id, step_id = name.split("/", 2)[1:]
        key = (run_id, step_id)
        there = self._coming.get(key)
        if data is None:
            if there is not None:
                self._end(key, there[0], None)
            return
        piece = _unpack(data)
        if piece.head is not None and (there is None or there[0].mark != piece.mark):
            channel = Channel(piece.mark, piece.head, piece.at)
            if not self._streams.lend(key, channel):
                return  # it comes here
            there = (channel, 0.0)
        if there is None or there[0].mark != piece.mark:
            return
        channel = there[0]
        self._coming[key] = (channel, self._now())
        if piece.at > channel.size:
            self._end(key, channel, None)
            return
        fresh = piece.data[channel.size - piece.at :]
        if fresh:
            channel.write(fresh)
        if piece.over:
            self._end(key, channel, piece.broken)

    def _end(self, key: Key, channel: Channel, broken: str | None) -> None:
        """``broken``: what was sent of it is void. Else what is missing is on record, or soon will be."""
        self._coming.pop(key, None)
        channel.end(broken)
        self._streams.give_back(key, channel)

    # readers elsewhere

    def _opened(self, run_id: str, step_id: str, _channel: Channel) -> None:
        self._offer((run_id, step_id))

    def _told(self, names: Collection[bytes]) -> None:
        """Somebody listens to something: it may be what arrives here. Who has it already takes it once more."""
        for key in self._streams.open_here():
            if self._post.among(_name(key), names):
                self._offer(key)

    def _offer(self, key: Key) -> None:
        if key in self._sending:
            self._again.add(key)
        elif self._post.wanted(_name(key)):
            self._begin(key)

    def _begin(self, key: Key) -> None:
        task = asyncio.get_running_loop().create_task(self._send(key), name="stepwell-stream")
        self._sending[key] = task
        task.add_done_callback(lambda _: self._sending.pop(key, None))

    async def _send(self, key: Key) -> None:
        try:
            while (channel := self._streams.get(key)) is not None and key not in self._coming:
                self._again.discard(key)
                await self._pass_on(key, channel)
                if key not in self._again:
                    return
        except StoreError as problem:
            logger.warning("a body is not passed on to other processes: %s", problem)

    async def _pass_on(self, key: Key, channel: Channel) -> None:
        """One attempt, from what is there of it, until it is over, or somebody else wants it from there."""
        at, name = channel.start, _name(key)
        first: FetchResponse | None = channel.head
        while not channel.lost(at):
            data = (await channel.read(at, ALIVE_S))[:PIECE]
            over = channel.ended and at + len(data) == channel.size
            await self._post.deliver(name, _pack(Piece(channel.mark, at, data, first, over, channel.broken)))
            at += len(data)
            first = None
            if over or key in self._again:
                return
            await asyncio.sleep(PACE_S)
        await self._post.deliver(name, _pack(Piece(channel.mark, at, over=True)))


def _name(key: Key) -> str:
    return f"{KIND}/{key[0]}/{key[1]}"
