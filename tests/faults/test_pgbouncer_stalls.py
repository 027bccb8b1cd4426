"""Behind a proxy that pools transactions the role says when those of a process that stalls are ended, as the docs have it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell.server.store.base import StoreError
from stepwell.server.store.postgres.connect import IDLE, WHOLE, Pool, connect
from stepwell.server.store.postgres.failures import explained
from stepwell.server.store.postgres.schema import migrate
from stepwell.testing.platform.postgres import PostgresServer
from tests.crash import matrix
from tests.crash.matrix import Cell, scene
from tests.crash.matrix_places import Postgres
from tests.crash.matrix_plays import a_server_stalls
from tests.crash.nursery import Nursery
from tests.faults.cluster import ask
from tests.faults.pgbouncer import PgBouncer
from tests.server.test_postgres_stalls import stalls

PAGE = (Path(__file__).parents[2] / "docs" / "postgresql.md").read_text(encoding="utf-8")
SAID = dict(re.findall(r"^ALTER ROLE stepwell SET (\w+) = '(\w+)';", PAGE, re.MULTILINE))
IDLE_LIMIT, WHOLE_LIMIT = SAID
"""The settings that the page names, in its order."""
pytestmark = pytest.mark.pgbouncer


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[PgBouncer]:
    """One that has no connections yet: those keep what their role said when they were made."""
    proxy = PgBouncer(server)
    proxy.start()
    yield proxy
    proxy.remove()


async def say(server: PostgresServer, idle: str, whole: str) -> None:
    """What the page says, with these times."""
    for setting, value in ((IDLE_LIMIT, idle), (WHOLE_LIMIT, whole)):
        await ask(server.url, f"ALTER ROLE stepwell SET {setting} = '{value}'")


async def test_the_page_asks_for_what_a_process_asks_for_that_goes_directly(
    server: PostgresServer, proxy: PgBouncer
) -> None:
    assert SAID == {"idle_in_transaction_session_timeout": IDLE, "transaction_timeout": WHOLE}
    await say(server, *SAID.values())
    conn = await connect(proxy.url)
    assert {setting: await conn.fetchval(f"SHOW {setting}") for setting in SAID} == SAID
    await conn.close()


@pytest.mark.parametrize("prepared", [False, True], ids=["idle", "between prepare and execute"])
async def test_what_a_stalled_client_of_a_proxy_has_locked_is_free_again(
    prepared: bool, server: PostgresServer, proxy: PgBouncer
) -> None:
    await say(server, "30s" if prepared else "300ms", "600ms" if prepared else "30s")
    pool = Pool(proxy.url, 1, proxied=True)
    await pool.open()
    other = await connect(proxy.url)
    with pytest.raises(StoreError, match="has broken off"), explained():
        await stalls(pool, other, prepared)
    async with pool.transaction() as again:
        assert [tuple(row) for row in await again.fetch("SELECT 1")] == [(1,)]
    await other.close()
    await pool.close()


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="takes long; the statements by themselves are above")
@pytest.mark.timeout(120)
async def test_a_process_that_stalls_in_a_transaction_behind_a_proxy_holds_nobody_up(
    server: PostgresServer, proxy: PgBouncer, tmp_path: Path
) -> None:
    """Another one behind it goes on with everything; the first comes back, and works along."""
    await migrate(server.url)
    await say(server, matrix.IDLE, matrix.WHOLE)
    nursery = Nursery()
    try:
        place = Postgres(server.url, proxy=proxy.url)
        async with scene(Cell("commit-open", "SIGSTOP", "postgresql", "both", 6), nursery, tmp_path, place) as at:
            await a_server_stalls(at)
            await at.check()
    finally:
        nursery.close()
