"""Messages to and from the other processes on the same store. What nobody listens to elsewhere is not sent."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence

import msgspec

from stepwell.server.clock import Clock
from stepwell.server.post import Post
from stepwell.server.runtime.loops import end
from stepwell.server.store.base import StoreError
from stepwell.server.store.carrying import Carrier, Parcel

logger = logging.getLogger("stepwell.engine")

MAX_KEYS = 20_000
"""Keys that one process can listen to."""
_LASTS_MS = 40_000
_RENEW_S = 10.0
_BATCH = 100
_WAITING = 5_000
_WAITING_BYTES = 8 << 20
_AGAIN_S = 1.0

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[str, bytes | None]).decode


class PeerPost(Post):
    """Begins with ``start``; before that, and without a carrier, nobody is reached."""

    def __init__(self, clock: Clock, owner: str) -> None:
        super().__init__()
        self._clock = clock
        self._owner = owner
        self._carrier: Carrier | None = None
        self._mine: Counter[str] = Counter()
        """How often each key is listened to here."""
        self._sure: set[str] = set()
        """Keys that others can know of."""
        self._gone: set[str] = set()
        self._heard: set[bytes] = set()
        """Names that others listen to."""
        self._fresh: set[bytes] = set()
        """Those that were told of since they were last read."""
        self._unread = False
        self._waiting: deque[tuple[str, bytes | None]] = deque()
        self._bytes = 0
        self._bell = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.regularly: list[Callable[[], None]] = []
        """Called every few seconds."""

    def start(self, carrier: Carrier | None) -> None:
        """Begin to send and to hear."""
        self._carrier = carrier
        if carrier is not None:
            carrier.begin(self._owner, self._got, self._others, self._lost)
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(work(), name="stepwell-post") for work in (self._keep, self._send)]

    async def stop(self) -> None:
        """End. Others forget by themselves what this process listened to."""
        tasks, self._tasks, self._carrier = self._tasks, [], None
        await end(tasks)

    # hearing

    async def listen(self, keys: Collection[str]) -> None:
        """See :meth:`Post.listen`."""
        self._mine.update(keys)
        self._gone -= set(keys)
        new = set(keys) - self._sure
        if self._carrier is None or not new:
            return
        try:
            if len(self._mine) > MAX_KEYS:
                raise StoreError("Too many readers of different things are connected to this process.")
            await self._carrier.listen(self._names(new), self._clock.now(), self._clock.now() + _LASTS_MS)
        except BaseException:
            self.leave(keys)
            raise
        self._sure |= new & self._mine.keys()

    def leave(self, keys: Collection[str]) -> None:
        """See :meth:`Post.leave`. Told to the others a few seconds later: who leaves often comes again."""
        for key in keys:
            self._mine[key] -= 1
            if self._mine[key] <= 0:
                del self._mine[key]
                self._gone.add(key)
                self._sure.discard(key)

    def _got(self, data: bytes) -> None:
        try:
            key, message = _unpack(data)
        except (msgspec.DecodeError, msgspec.ValidationError):
            logger.exception("a message of another process is not understood")
            return
        taker = self.takers.get(key.partition("/")[0])
        if taker is not None and key in self._mine:
            taker(key, message)

    def _lost(self) -> None:
        for key in list(self._sure):
            taker = self.takers.get(key.partition("/")[0])
            if taker is not None:
                taker(key, None)

    # sending

    def wanted(self, key: str) -> bool:
        """See :meth:`Post.wanted`."""
        if not self._heard or self._carrier is None:
            return False
        return not self._heard.isdisjoint(self._carrier.names(key))

    def among(self, key: str, names: Collection[bytes]) -> bool:
        """See :meth:`Post.among`."""
        return self._carrier is not None and any(name in names for name in self._carrier.names(key))

    def send(self, key: str, data: bytes) -> None:
        """See :meth:`Post.send`. What can not be sent for long is given up, and who listens is told so."""
        self._waiting.append((key, data))
        self._bytes += len(data)
        if len(self._waiting) > _WAITING or self._bytes > _WAITING_BYTES:
            self._give_up()
        self._bell.set()

    async def deliver(self, key: str, data: bytes) -> None:
        """See :meth:`Post.deliver`."""
        if self._carrier is not None:
            await self._carrier.send([self._parcel(key, data)], self._clock.now())

    def _give_up(self) -> None:
        keys = dict.fromkeys(key for key, _ in self._waiting)
        self._waiting = deque((key, None) for key in list(keys)[:_WAITING])
        self._bytes = 0

    def _parcel(self, key: str, data: bytes | None) -> Parcel:
        assert self._carrier is not None
        return Parcel(self._carrier.names(key), _pack((key, data)))

    def _names(self, keys: Collection[str]) -> list[bytes]:
        assert self._carrier is not None
        return [name for key in keys for name in self._carrier.names(key)]

    def _others(self, names: Sequence[bytes] | None) -> None:
        if names is None:
            self._unread = True
            self._bell.set()
            return
        self._heard.update(names)
        self._fresh.update(names)
        for told in self.told:
            told(names)

    # work

    async def _send(self) -> None:
        while True:
            await self._bell.wait()
            self._bell.clear()
            if self._unread:
                await self._read()
            while self._waiting and self._carrier is not None:
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                self._bytes -= sum(len(data or b"") for _, data in batch)
                try:
                    await self._carrier.send([self._parcel(*each) for each in batch], self._clock.now())
                except StoreError as problem:
                    logger.warning("other processes were not told: %s", problem)
                    self._waiting.extendleft(reversed(batch))
                    self._give_up()
                    await asyncio.sleep(_AGAIN_S)

    async def _keep(self) -> None:
        while True:
            await self._read()
            for each in self.regularly:
                each()
            try:
                await self._renew()
            except StoreError as problem:
                logger.warning("other processes do not know what is listened to here: %s", problem)
            await asyncio.sleep(_RENEW_S)

    async def _read(self) -> None:
        if self._carrier is None:
            return
        self._unread, self._fresh = False, set()
        try:
            before, self._heard = self._heard, await self._carrier.heard(self._clock.now()) | self._fresh
            for told in self.told:
                told(self._heard - before)
        except StoreError as problem:
            logger.warning("what other processes listen to can not be read: %s", problem)

    async def _renew(self) -> None:
        carrier, gone = self._carrier, self._gone
        if carrier is None:
            return
        self._gone = set()
        if gone:
            await carrier.leave(self._names(gone))
        if self._mine:
            now = self._clock.now()
            await carrier.listen(self._names(list(self._mine)), now, now + _LASTS_MS, quiet=True)
