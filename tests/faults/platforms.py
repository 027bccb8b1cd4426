"""Two platforms of production, each in a process of its own, on a PostgreSQL; the load goes through both."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.crash.serve_process import SEAL, ServeProcess
from tests.crash.test_kill_postgres import functions
from tests.crash.upstream import Upstream
from tests.faults.load import Clients, Fault, survive


@asynccontextmanager
async def two_platforms(
    url: str, folder: Path, env: dict[str, str]
) -> AsyncIterator[tuple[Upstream, list[ServeProcess]]]:
    """Two ``stepwell serve`` on one database, the app that they call, and what that calls."""
    async with Upstream(delay_s=0.1) as upstream, functions(upstream.url) as app:
        platforms = [
            ServeProcess(url, folder / "first.db", "-u", app, env=env),
            ServeProcess(url, folder / "second.db", env=env),
        ]
        try:
            for platform in platforms:
                await platform.start()
            for platform in platforms:
                await platform.until(platform.has_functions)
            yield upstream, platforms
            for platform in platforms:
                assert await platform.stop() == 0
        finally:
            for platform in platforms:
                if platform.running:
                    await platform.kill()


async def through(url: str, folder: Path, fault: Fault, direct: str = "") -> Clients:
    """The load, and the fault in the middle of it. ``direct``: where ``url`` leads through a proxy, the way past it."""
    env = {"STEPWELL_DB_LISTEN": direct} if direct else {}
    async with two_platforms(url, folder, env) as (upstream, platforms):
        clients = Clients([platform.url for platform in platforms])
        await survive(clients, upstream, fault, direct or url, SEAL, platforms[0].until)
    return clients
