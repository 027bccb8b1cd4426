"""The store in a PostgreSQL database: any number of processes work on it, and none has to lead for that."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from stepwell.core.flow.gates import Shut
from stepwell.core.flow.holding import Holding
from stepwell.core.model import Cancellation, Item, ItemRef, Pause, Run, RunView, StoredEvent, Wait
from stepwell.core.outputs import Commit
from stepwell.server.store.base import (
    APPS,
    CANCELLATIONS,
    PAUSES,
    AppRecord,
    ClaimRequest,
    Counts,
    EventQuery,
    Piece,
    Prune,
    Pruned,
    RunQuery,
    StoreError,
    Transacted,
    Unsure,
    WaitQuery,
    WorkerRecord,
)
from stepwell.server.store.codec import encode
from stepwell.server.store.postgres import prune, reader, transact
from stepwell.server.store.postgres.carry import PostgresCarrier
from stepwell.server.store.postgres.connect import Conn, Pool
from stepwell.server.store.postgres.failures import TRY_AGAIN, explained
from stepwell.server.store.postgres.listen import Listener
from stepwell.server.store.postgres.queries import SQL
from stepwell.server.store.postgres.schema import ready

_P = ParamSpec("_P")
_R = TypeVar("_R")

_TRIES = 6
_TIDY_EVERY = 256
"""Transactions between two looks for what means nothing any more."""
_FORGET_MS = 60_000
"""So long after that it is forgotten: another process's clock may be behind, and by that it still means something."""


class PostgresStore:
    """Durable state in the schema ``stepwell`` of the database at ``url`` (``postgresql://…``).

    ``listen_url``: given where ``url`` leads through a proxy that pools transactions: the way to it that does not. ``size``:
    the most connections that this process opens, beside the one on which it listens.
    """

    exclusive = False

    def __init__(self, url: str, *, listen_url: str | None = None, size: int = 8) -> None:
        self._direct = listen_url or url
        self._pool = Pool(url, size, proxied=listen_url is not None)
        self._listener = Listener(self._direct)
        self.carrier = PostgresCarrier(self._pool, self._listener)
        self._order = asyncio.Lock()
        self._count = 0

    async def open(self) -> None:
        """See :meth:`Store.open`. Makes the schema of an empty database; an older one is for ``stepwell migrate``."""
        await ready(self._direct)
        await self._pool.open()

    async def close(self) -> None:
        """See :meth:`Store.close`."""
        await self._listener.stop()
        await self._pool.close()

    def watch(self, told: Callable[[str], None]) -> None:
        """See :meth:`Watched.watch`."""
        self._listener.start(told)

    async def _write(
        self, verb: Callable[Concatenate[Conn, _P], Awaitable[_R]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _R:
        """In a transaction of its own; again when others were in the way."""
        transaction = partial(self._pool.transaction, begun=verb != self._transact)
        with explained():
            for _ in range(_TRIES - 1):
                try:
                    async with transaction() as conn:
                        return await verb(conn, *args, **kwargs)
                except TRY_AGAIN:
                    await asyncio.sleep(0.01)
            async with transaction() as conn:
                return await verb(conn, *args, **kwargs)

    async def _read(
        self, verb: Callable[Concatenate[Conn, _P], Awaitable[_R]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _R:
        with explained():
            async with self._pool.transaction(snapshot=True) as conn:
                return await verb(conn, *args, **kwargs)

    async def transact(self, commits: Sequence[Commit], claim: ClaimRequest | None = None) -> Transacted:
        """See :meth:`Store.transact`. One at a time, in the order in which they were asked for."""
        async with self._order:
            made: list[Transacted] = []  # all was said, and maybe done, but for the last word
            try:
                result = await self._write(self._transact, commits, claim, made)
            except StoreError as problem:
                if not made:
                    raise
                claims = [ItemRef(item.run_id, item.key, item.claim) for item in made[0].claimed]
                raise Unsure(str(problem), claims) from problem
            if claim is not None:
                await self._tidy(claim.now)
            return result

    async def _transact(
        self, conn: Conn, commits: Sequence[Commit], claim: ClaimRequest | None, made: list[Transacted]
    ) -> Transacted:
        made.clear()
        made.append(await transact.transact(conn, commits, claim))
        return made[0]

    async def _tidy(self, now: int) -> None:
        self._count += 1
        if self._count % _TIDY_EVERY == 0:
            await self._write(_forget, now - _FORGET_MS)

    async def heartbeat(self, owner: str, expires_at: int) -> None:
        """See :meth:`Store.heartbeat`."""
        await self._write(_execute, SQL.put_lease, owner, expires_at)

    async def rescue(self, now: int) -> int:
        """See :meth:`Store.rescue`."""
        return await self._write(transact.rescue, now)

    async def release(self, refs: Sequence[ItemRef]) -> None:
        """See :meth:`Store.release`."""
        await self._write(transact.release, refs)

    async def beat(self, worker: WorkerRecord, forget: int) -> None:
        """See :meth:`Store.beat`."""
        await self._write(_beat, worker, forget)

    async def workers(self) -> list[WorkerRecord]:
        """See :meth:`Store.workers`."""
        return await self._read(reader.workers)

    async def drop_worker(self, worker_id: str) -> None:
        """See :meth:`Store.drop_worker`."""
        await self._write(_execute, SQL.drop_worker, worker_id)

    async def lead(self, owner: str, now: int, expires_at: int) -> bool:
        """See :meth:`Store.lead`."""
        return await self._write(_any, SQL.lead, owner, now, expires_at)

    async def resign(self, owner: str) -> None:
        """See :meth:`Store.resign`."""
        await self._write(_execute, SQL.resign, owner)

    async def prune(self, asked: Prune) -> Pruned:
        """See :meth:`Store.prune`."""
        return await self._write(prune.prune, asked)

    async def append_body(self, claim: ItemRef, start: int, data: Piece, *, last: bool = False) -> bool:
        """See :meth:`Store.append_body`."""
        made = await asyncio.to_thread(data) if callable(data) else data
        return await self._write(transact.append_body, claim, start, made, last)

    async def drop_cancellation(self, cancellation_id: str) -> bool:
        """See :meth:`Store.drop_cancellation`."""
        return await self._write(_drop_cancellation, cancellation_id)

    async def save_pause(self, pause: Pause) -> None:
        """See :meth:`Store.save_pause`."""
        await self._write(_save_pause, pause)

    async def drop_pause(self, function_id: str) -> bool:
        """See :meth:`Store.drop_pause`."""
        return await self._write(_drop_pause, function_id)

    async def save_app(self, app: AppRecord) -> None:
        """See :meth:`Store.save_app`."""
        await self._write(_save_app, app)

    async def load_runs(self, run_ids: Sequence[str]) -> list[RunView]:
        """See :meth:`Store.load_runs`."""
        return await self._read(reader.load_runs, run_ids)

    async def get_event(self, internal_id: str) -> StoredEvent | None:
        """See :meth:`Store.get_event`."""
        return await self._read(reader.get_event, internal_id)

    async def list_events(self, query: EventQuery) -> list[StoredEvent]:
        """See :meth:`Store.list_events`."""
        return await self._read(reader.list_events, query)

    async def list_runs(self, query: RunQuery) -> list[Run]:
        """See :meth:`Store.list_runs`."""
        return await self._read(reader.list_runs, query)

    async def load_apps(self) -> list[AppRecord]:
        """See :meth:`Store.load_apps`."""
        return await self._read(reader.load_apps)

    async def load_body(self, ref: str, start: int = 0, end: int | None = None) -> bytes | None:
        """See :meth:`Store.load_body`."""
        return await self._read(reader.load_body, ref, start, end)

    async def list_items(self, run_id: str) -> list[Item]:
        """See :meth:`Store.list_items`."""
        return await self._read(reader.list_items, run_id)

    async def waits(self, run_id: str, now: int) -> dict[str, Shut]:
        """See :meth:`Store.waits`."""
        return await self._read(reader.waits, run_id, now)

    async def held(self, now: int, limit: int) -> list[Holding]:
        """See :meth:`Store.held`."""
        return await self._read(reader.held, now, limit)

    async def find_waits(self, query: WaitQuery) -> list[Wait]:
        """See :meth:`Store.find_waits`."""
        return await self._read(reader.find_waits, query)

    async def waited_places(self, name: str) -> list[Wait]:
        """See :meth:`Store.waited_places`."""
        return await self._read(reader.waited_places, name)

    async def find_signal(self, signal: str) -> Wait | None:
        """See :meth:`Store.find_signal`."""
        return await self._read(reader.find_signal, signal)

    async def cancellations(self) -> list[Cancellation]:
        """See :meth:`Store.cancellations`."""
        return await self._read(reader.cancellations)

    async def keys_of(self, function_id: str) -> list[str]:
        """See :meth:`Store.keys_of`."""
        return await self._read(reader.keys_of, function_id)

    async def pauses(self) -> list[Pause]:
        """See :meth:`Store.pauses`."""
        return await self._read(reader.pauses)

    async def waiting_names(self) -> set[str]:
        """See :meth:`Store.waiting_names`."""
        return await self._read(reader.waiting_names)

    async def counts(self) -> Counts:
        """See :meth:`Store.counts`."""
        return await self._read(reader.counts)


async def _execute(conn: Conn, sql: str, *values: object) -> None:
    await conn.execute(sql, *values)


async def _any(conn: Conn, sql: str, *values: object) -> bool:
    return bool(await conn.fetch(sql, *values))


async def _save_app(conn: Conn, app: AppRecord) -> None:
    await conn.execute(SQL.put_app, app.app_id, encode(app))
    await conn.execute(SQL.notify, APPS)


async def _beat(conn: Conn, worker: WorkerRecord, forget: int) -> None:
    await conn.execute(SQL.put_worker, worker.worker_id, worker.beat_at, encode(worker))
    await conn.execute(SQL.forget_workers, forget, worker.worker_id)


async def _save_pause(conn: Conn, pause: Pause) -> None:
    await conn.execute(SQL.put_pause, pause.function_id, pause.paused_at)
    await conn.execute(SQL.notify, PAUSES)


async def _drop_cancellation(conn: Conn, cancellation_id: str) -> bool:
    dropped = await _any(conn, SQL.drop_cancellations, [cancellation_id])
    await conn.execute(SQL.notify, CANCELLATIONS)
    return dropped


async def _drop_pause(conn: Conn, function_id: str) -> bool:
    dropped = await _any(conn, SQL.drop_pause, function_id)
    await conn.execute(SQL.notify, PAUSES)
    return dropped


async def _forget(conn: Conn, now: int) -> None:
    await conn.execute(SQL.forget_flows, now)
    await conn.execute(SQL.forget_admissions, now)
