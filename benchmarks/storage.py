"""Where the platforms of the benchmarks keep their state: a new SQLite file each, or a new database of a real PostgreSQL."""

import atexit
import os
import secrets
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from stepwell.server.store.postgres.connect import connect
from stepwell.testing.platform.postgres import PostgresServer

STORES = ("sqlite", "postgresql")
_DURABLE = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
}
"""As a server in earnest has it."""

chosen = "sqlite"
"""The store of the rows that are being measured."""


@asynccontextmanager
async def database() -> AsyncGenerator[str]:
    """The URL of a new, empty one."""
    if chosen == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / 'bench.db'}"
        return
    os.environ.setdefault("STEPWELL_ENCRYPTION_KEY", secrets.token_hex(32))
    name = f"bench_{secrets.token_hex(6)}"
    await execute(_server(), f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(_server())._replace(path=f"/{name}"))
    finally:
        await execute(_server(), f"DROP DATABASE {name} WITH (FORCE)")


async def execute(url: str, sql: str) -> None:
    """Run one statement on a connection of its own."""
    conn = await connect(url)
    try:
        await conn.execute(sql)
    finally:
        await conn.close()


@cache
def _server() -> str:
    """That of STEPWELL_TEST_POSTGRES, or one of our own that syncs."""
    given = os.environ.get("STEPWELL_TEST_POSTGRES")
    if given:
        return given
    server = PostgresServer(_DURABLE)
    atexit.register(server.remove)
    server.start()
    return server.url
