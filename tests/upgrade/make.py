"""Writes the rows of a database with runs in flight, as the version that is checked out stores them.

``python -m tests.upgrade.make sqlite|postgresql FILE``: to be run once for a version, before the next one is made.
"""

import asyncio
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from stepwell.embed import Embedded
from stepwell.server.settings import Settings
from stepwell.server.store.migrate import load_migrations
from stepwell.server.store.postgres.connect import connect
from stepwell.testing.platform.postgres import make_database
from tests.upgrade.app import EVENTS, client

SEAL = "5e" * 32
TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
PG_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'stepwell' AND tablename <> 'schema_version' ORDER BY 1"


async def main(store: str, file: Path) -> None:
    """Run the app until everything waits for something, and write down what is stored then."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.db"
        url = f"sqlite:///{path}" if store == "sqlite" else await make_database()
        settings = Settings(db=url, encryption_keys=(SEAL,), port=0, discovery=False, retry_interval_ms=60_000)
        platform = Embedded(settings, [client])
        await platform.start()
        for name, data in EVENTS:
            await platform.send(name, data)
        await asyncio.sleep(2)
        lines = from_sqlite(path) if store == "sqlite" else await from_postgres(url)
        await platform.stop(0)
    package = "sqlite" if store == "sqlite" else "postgres"
    version = len(load_migrations(f"stepwell.server.store.{package}"))
    file.write_text("\n".join([f"-- schema {version}", *lines]) + "\n")


def from_sqlite(path: Path) -> list[str]:
    """Statements, of one moment."""
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("BEGIN")
    lines: list[str] = []
    for (table,) in conn.execute(TABLES).fetchall():
        found = conn.execute(f"SELECT * FROM {table}")
        columns = [column[0] for column in found.description]
        lines += [f"DELETE FROM {table};", *inserts(table, columns, found, "x'{}'")]
    conn.close()
    return lines


async def from_postgres(url: str) -> list[str]:
    """Statements, of one moment."""
    conn = await connect(url)
    lines: list[str] = []
    async with conn.transaction(isolation="repeatable_read"):
        for (table,) in await conn.fetch(PG_TABLES):
            found = await conn.fetch(f"SELECT * FROM stepwell.{table}")
            columns = list(found[0].keys()) if found else []
            lines += inserts(f"stepwell.{table}", columns, map(tuple, found), r"'\x{}'")
        for name in ("seqs", "claims"):
            last = await conn.fetchval(f"SELECT last_value FROM stepwell.{name}")
            lines.append(f"SELECT setval('stepwell.{name}', {last});")
    await conn.close()
    return lines


def inserts(table: str, columns: Sequence[str], rows: Iterable[Sequence[object]], blob: str) -> list[str]:
    """One statement for each row."""
    head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES"
    return [f"{head} ({', '.join(literal(value, blob) for value in row)});" for row in rows]


def literal(value: object, blob: str) -> str:
    """A value as SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, bool | int):
        return str(value).lower()
    if isinstance(value, bytes):
        return blob.format(value.hex())
    if isinstance(value, list):
        return f"ARRAY[{', '.join(literal(one, blob) for one in value)}]::text[]"
    return "'" + str(value).replace("'", "''") + "'"


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
