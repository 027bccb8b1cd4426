"""Messages between processes by NOTIFY, each process on a channel of its own; large ones in a table that it names.

Nothing of it is in the transactions of the store: these would wait for each other to commit. Whether anybody listens is
asked in the transaction that sends, so who began to listen before hears of it.
"""

import asyncio
import binascii
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager

from stepwell.server.store.base import StoreError
from stepwell.server.store.carrying import Got, Others, Parcel
from stepwell.server.store.postgres.connect import Conn, Pool
from stepwell.server.store.postgres.failures import explained
from stepwell.server.store.postgres.listen import Listener
from stepwell.server.store.postgres.queries import SQL

_INLINE = 5_500
"""Bytes that fit into a notification, which has 8,000, as base64."""
_TOLD = 200
"""Names that are told of in one notification."""
_KEPT_MS = 15_000
"""How long a large message can be fetched."""
_READY_S = 5.0
_ECHO_S = 1.0
_PENDING = 5_000
_TIDY_EVERY = 200


class PostgresCarrier:
    """See :class:`Carrier`."""

    def __init__(self, pool: Pool, listener: Listener) -> None:
        self._pool = pool
        self._listener = listener
        self._owner = ""
        self._got: Got = lambda _: None
        self._others: Others = lambda _: None
        self._lost: Callable[[], None] = lambda: None
        self._arrived: deque[str] = deque()
        self._opening: asyncio.Task[None] | None = None
        self._echoes: set[asyncio.Future[None]] = set()
        self._count = 0

    def begin(self, owner: str, got: Got, others: Others, lost: Callable[[], None]) -> None:
        """See :meth:`Carrier.begin`."""
        self._owner, self._got, self._others, self._lost = owner, got, others, lost
        self._listener.carry(f"stepwell_{owner}", self._came, self._told, self._missed)

    def names(self, key: str) -> tuple[bytes, ...]:
        """See :meth:`Carrier.names`."""
        return (key.encode("utf-8", "surrogatepass"),)

    async def listen(self, names: Collection[bytes], now: int, until: int, *, quiet: bool = False) -> None:
        """See :meth:`Carrier.listen`. Waits a moment for its own notification, since others get theirs at the same time."""
        if quiet:
            async with self._transaction() as conn:
                await conn.execute(SQL.put_listeners, sorted(names), self._owner, until)
            return
        try:
            await asyncio.wait_for(self._listener.ready.wait(), _READY_S)
        except TimeoutError:
            raise StoreError("Other processes can not be heard: the connection that listens is down.") from None
        echo: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._echoes.add(echo)
        try:
            told = " ".join(name.hex() for name in names) if len(names) <= _TOLD else ""
            async with self._transaction() as conn:
                await conn.execute(SQL.put_listeners, sorted(names), self._owner, until)
                await conn.execute(SQL.notify, f"listen {self._owner} {told}")
            await asyncio.wait([echo], timeout=_ECHO_S)
        finally:
            self._echoes.discard(echo)
        await self._tidy(now)

    async def leave(self, names: Collection[bytes]) -> None:
        """See :meth:`Carrier.leave`."""
        async with self._transaction() as conn:
            await conn.execute(SQL.drop_listeners, sorted(names), self._owner)

    async def heard(self, now: int) -> set[bytes]:
        """See :meth:`Carrier.heard`."""
        with explained():
            async with self._pool.transaction(snapshot=True) as conn:
                return {name for (name,) in await conn.fetch(SQL.listeners, self._owner, now)}

    async def send(self, parcels: Sequence[Parcel], now: int) -> None:
        """See :meth:`Carrier.send`."""
        async with self._transaction() as conn:
            for each in parcels:
                await self._send(conn, each, now)
        await self._tidy(now)

    async def _send(self, conn: Conn, parcel: Parcel, now: int) -> None:
        names = list(parcel.names)
        if len(parcel.data) > _INLINE:
            await conn.fetch(SQL.tell_parcel, names, parcel.data, self._owner, now, now + _KEPT_MS)
        else:
            await conn.fetch(SQL.tell, names, b64encode(parcel.data).decode(), self._owner, now)

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[Conn]:
        """One that need not be on disk when it ends."""
        with explained():
            async with self._pool.transaction() as conn:
                await conn.execute("SET LOCAL synchronous_commit = off")
                yield conn

    async def _tidy(self, now: int) -> None:
        self._count += 1
        if self._count % _TIDY_EVERY == 1:
            async with self._transaction() as conn:
                await conn.execute(SQL.forget_listeners, now)
                await conn.execute(SQL.forget_parcels, now)

    # what comes

    def _told(self, text: str) -> None:
        """``listen OWNER NAME…``."""
        _, owner, *names = text.split(" ")
        if owner == self._owner:
            for echo in self._echoes:
                if not echo.done():
                    echo.set_result(None)
            return
        self._others([bytes.fromhex(name) for name in names if name] or None)

    def _came(self, payload: str) -> None:
        if len(self._arrived) >= _PENDING:
            self._missed()
            return
        self._arrived.append(payload)
        if self._opening is None or self._opening.done():
            self._opening = asyncio.get_running_loop().create_task(self._open(), name="stepwell-parcels")

    def _missed(self) -> None:
        self._arrived.clear()
        self._lost()

    async def _open(self) -> None:
        """One after the other, in the order in which they came."""
        while self._arrived:
            payload = self._arrived.popleft()
            try:
                data = await self._fetched(payload) if payload[:1] == "#" else b64decode(payload)
            except (StoreError, binascii.Error):
                data = None
            if data is None:
                self._missed()
            else:
                self._got(data)

    async def _fetched(self, payload: str) -> bytes | None:
        with explained():
            async with self._pool.transaction(snapshot=True) as conn:
                rows = await conn.fetch(SQL.parcel, int(payload[1:]))
        return rows[0][0] if rows else None
