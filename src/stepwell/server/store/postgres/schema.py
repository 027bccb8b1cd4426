"""The schema, brought up to date while processes work on it.

A migration is additive, and processes of the version before go on beside it; what they could not work with is in migrations of
their own, which wait until there is no such process any more (``Migration.post``).
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
import msgspec

from stepwell.server.store.base import StoreError, WorkerRecord
from stepwell.server.store.migrate import Migration, check, load_migrations, pending, reach
from stepwell.server.store.postgres.connect import IDLE, connect
from stepwell.server.store.postgres.failures import explained

_MIGRATION_S = 60.0
_LOCK = 0x53746570
_TABLE_S = "3s"
"""A migration waits for a table no longer than this, as everybody else waits behind it; then it begins anew."""
_TRIES = 20
_PAUSE_S = 0.5
Around = Callable[[Migration], AbstractContextManager[object]]
"""What is entered around each migration; it may run again, when a table was in use."""
_decode_worker = msgspec.msgpack.Decoder(WorkerRecord).decode


async def ready(url: str) -> None:
    """Make the schema of an empty database. Raises StoreError where there is one that this version can not work with."""
    known = load_migrations(__package__ or "")
    with explained():
        conn = await connect(url, _MIGRATION_S)
        try:
            if not (await _versions(conn))[0]:
                await _migrate(conn, known, post=True)
            check(known, *await _versions(conn), "The database")
        finally:
            await conn.close(timeout=5)


async def migrate(url: str, *, post: bool = False, around: Around = nullcontext) -> tuple[int, int]:
    """Bring the schema up to date, one process at a time; the versions before and after.

    ``post``: also where processes of an older version could not go on then; else up to there. Raises StoreError.
    """
    known = load_migrations(__package__ or "")
    with explained():
        conn = await connect(url, _MIGRATION_S)
        try:
            version, _ = await _versions(conn)
            if pending(known, version, "The database"):
                await _migrate(conn, known, post=post, around=around)
            return version, (await _versions(conn))[0]  # the lock goes with the connection
        finally:
            await conn.close(timeout=5)


async def processes(url: str) -> list[WorkerRecord]:
    """Those on the database, whatever its version. Raises StoreError."""
    with explained():
        conn = await connect(url)
        try:
            if await conn.fetchval("SELECT to_regclass('stepwell.workers') IS NULL"):
                return []
            return [_decode_worker(data) for (data,) in await conn.fetch("SELECT data FROM stepwell.workers")]
        finally:
            await conn.close(timeout=5)


async def _versions(conn: Any) -> tuple[int, int]:
    """Of the schema, and the newest migration that a process has to know; 0 for none."""
    if await conn.fetchval("SELECT to_regclass('stepwell.schema_version') IS NULL"):
        return 0, 0
    row: dict[str, int] = msgspec.json.decode(
        await conn.fetchval("SELECT to_jsonb(one) FROM stepwell.schema_version AS one")
    )
    return row["version"], row.get("oldest", 0)


async def _migrate(conn: Any, known: list[Migration], *, post: bool, around: Around = nullcontext) -> None:
    await conn.execute("SELECT set_config('idle_in_transaction_session_timeout', $1, false)", IDLE)
    await conn.execute("SELECT set_config('lock_timeout', '0', false)")
    await conn.execute("SELECT pg_advisory_lock($1)", _LOCK)  # first: a transaction may not see tables made since
    await conn.execute("SELECT set_config('lock_timeout', $1, false)", _TABLE_S)
    for _ in range(_TRIES):
        try:
            await _all(conn, known, post, around)
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(_PAUSE_S)
        else:
            return
    raise StoreError(
        "A table of the database is in use all the time, nothing was changed: run `stepwell migrate` later."
    )


async def _all(conn: Any, known: list[Migration], post: bool, around: Around) -> None:
    """In one transaction."""
    async with conn.transaction():
        version, _ = await _versions(conn)
        if not version:
            await conn.execute("CREATE SCHEMA IF NOT EXISTS stepwell")
            await conn.execute("CREATE TABLE IF NOT EXISTS stepwell.schema_version (version int NOT NULL)")
            await conn.execute("INSERT INTO stepwell.schema_version VALUES (0)")
        for migration in pending(known[: reach(known, version, post=post)], version, "The database"):
            with around(migration):
                await conn.execute(migration.sql)
            await conn.execute("UPDATE stepwell.schema_version SET version = $1", migration.number)
            if migration.post:
                await conn.execute("UPDATE stepwell.schema_version SET oldest = $1", migration.number)
