"""Two platforms behind a real PgBouncer that pools transactions; it is killed, and started anew, under load."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell.server.store.postgres.connect import connect
from stepwell.testing.platform.postgres import PostgresServer
from tests.faults.pgbouncer import PgBouncer
from tests.faults.platforms import through

LONG = os.environ.get("CI") == "true"
ENDS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT) if LONG else (signal.SIGKILL,)
pytestmark = pytest.mark.pgbouncer


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """Its log says how each statement came."""
    server = PostgresServer({"log_min_messages": "log", "log_statement": "all"})
    server.start()
    yield server
    server.remove()


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[PgBouncer]:
    proxy = PgBouncer(server)
    proxy.start()
    yield proxy
    proxy.remove()


async def connections(server: PostgresServer) -> tuple[int, list[str]]:
    """How many lead through the proxy, which names them before it uses them; and the last statements of the direct ones."""
    conn = await connect(server.url)
    try:
        rows = await conn.fetch(
            "SELECT application_name, query FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
    finally:
        await conn.close()
    return len([name for name, _ in rows if name]), [query for name, query in rows if query and not name]


@pytest.mark.timeout(170)
async def test_a_proxy_that_pools_transactions_and_dies(
    server: PostgresServer, proxy: PgBouncer, tmp_path: Path
) -> None:
    async def fault() -> None:
        pooled, direct = await connections(server)
        assert 0 < pooled <= proxy.size
        assert [query.split()[0] for query in direct] == ["LISTEN"] * 2, "one of each platform"
        for how in ENDS:
            await asyncio.to_thread(proxy.stop, how)
            await asyncio.sleep(1)
            await asyncio.to_thread(proxy.start)
            await asyncio.sleep(2)
        log = (server.folder / "log").read_text()
        assert "execute <unnamed>: " in log
        assert "execute __asyncpg" not in log, "a statement was prepared by name"

    clients = await through(proxy.url, tmp_path, fault, server.url)
    assert clients.refused
