"""SQLite on a disk that is full for a while, under load: nothing acknowledged is lost, and all of it ends."""

import asyncio
import os
import resource
from pathlib import Path

import pytest

from stepwell.server.store.sqlite import SQLiteStore
from tests.crash.platform_process import PlatformProcess
from tests.crash.test_kill import served
from tests.crash.upstream import Upstream
from tests.faults.load import Clients, check, under_load

LONG = os.environ.get("CI") == "true"


@pytest.mark.timeout(170)
async def test_the_disk_of_the_file_is_full_under_load(tmp_path: Path) -> None:
    """The kernel lets no file of the process grow, which is what a full disk is to it."""
    async with Upstream(delay_s=0.1) as upstream, served(upstream.url) as url:
        platform = PlatformProcess(None, tmp_path / "full.db", {}, "-u", url, "--retry-interval", "200ms")
        await platform.start()
        await platform.until(platform.has_functions)
        clients = Clients([platform.url])

        async def full() -> None:
            for turn in range(2 if LONG else 1):
                size = Path(f"{platform.db}-wal").stat().st_size
                resource.prlimit(platform.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
                async with asyncio.timeout(60):
                    while clients.refused < 6 * (turn + 1):
                        await asyncio.sleep(0.05)
                resource.prlimit(platform.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
                await asyncio.sleep(1)

        await under_load(clients, upstream, full)

        async def over() -> bool:
            statuses = list((await platform.runs()).values())
            return statuses == ["completed"] * len(clients.stored)

        await platform.until(over, 90)
        assert await platform.stop() == 0
    store = SQLiteStore(platform.db)
    await store.open()
    await check(store, clients, upstream)
    await store.close()
