"""A process that stalls in the middle of a transaction of PostgreSQL, and what it has locked."""

import asyncio
from typing import Any, cast

import pytest

from stepwell.server.store.base import StoreError
from stepwell.server.store.postgres import connect as connecting
from stepwell.server.store.postgres.connect import Pool, connect
from stepwell.server.store.postgres.failures import explained
from stepwell.testing.platform.postgres import clean_database

LOCK = "SELECT pg_advisory_xact_lock(7)"


async def stalls(pool: Pool, other: Any, prepared: bool) -> None:
    """Hold a lock, and go on only when another one has got it."""
    async with pool.transaction() as stalled:
        await stalled.execute(LOCK)
        if prepared:
            await cast(Any, stalled).prepare("SELECT 1 + $1::int")
        async with asyncio.timeout(20):
            await other.execute(LOCK)
        await stalled.execute("SELECT 1")


@pytest.mark.parametrize("prepared", [False, True], ids=["idle", "between prepare and execute"])
async def test_what_a_stalled_process_has_locked_is_free_again(prepared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "IDLE", "30s" if prepared else "300ms")
    monkeypatch.setattr(connecting, "WHOLE", "600ms" if prepared else "30s")
    url = await clean_database()
    pool = Pool(url, 1, proxied=False)
    await pool.open()
    other = await connect(url)
    if prepared and other.get_server_version().major < 17:
        pytest.skip("PostgreSQL 17 is the first that can do so")
    with pytest.raises(StoreError, match="has broken off"), explained():
        await stalls(pool, other, prepared)
    async with pool.transaction() as again:
        assert [tuple(row) for row in await again.fetch("SELECT 1")] == [(1,)]
    await other.close()
    await pool.close()
