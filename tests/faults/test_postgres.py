"""PostgreSQL that fails under load, with two platforms on it: nothing acknowledged is lost, and all of it ends."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stepwell.testing.platform.postgres import PostgresServer
from tests.crash.serve_process import SEAL, ServeProcess
from tests.crash.test_kill_postgres import functions
from tests.crash.upstream import Upstream
from tests.faults.cluster import Cluster, cluster
from tests.faults.load import Clients, Fault, survive

LONG = os.environ.get("CI") == "true"
FAULTS = [("cut",), ("restart",), ("freeze",), ("fail_over",)] if LONG else [("cut", "restart", "fail_over")]


@asynccontextmanager
async def two_platforms(url: str, folder: Path) -> AsyncIterator[tuple[Upstream, list[ServeProcess]]]:
    """Two ``stepwell serve`` on one database, the app that they call, and what that calls."""
    async with Upstream(delay_s=0.1) as upstream, functions(upstream.url) as app:
        platforms = [ServeProcess(url, folder / "first.db", "-u", app), ServeProcess(url, folder / "second.db")]
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


async def through(url: str, folder: Path, fault: Fault) -> Clients:
    """The load, and the fault in the middle of it."""
    async with two_platforms(url, folder) as (upstream, platforms):
        clients = Clients([platform.url for platform in platforms])
        await survive(clients, upstream, fault, url, SEAL, platforms[0].until)
    return clients


async def happen(database: Cluster, name: str) -> None:
    match name:
        case "cut":
            await database.cut(15 if LONG else 3)
        case "restart":
            for _ in range(3 if LONG else 1):
                await database.restart()
        case "freeze":
            await database.freeze(15)
        case _:
            await database.fail_over()


@pytest.mark.timeout(170)
@pytest.mark.parametrize("faults", FAULTS, ids="-".join)
async def test_a_database_that_fails_under_load_loses_nothing(faults: tuple[str, ...], tmp_path: Path) -> None:
    async with cluster() as database:

        async def fault() -> None:
            for name in faults:
                await happen(database, name)

        clients = await through(database.url, tmp_path, fault)
    assert clients.refused or faults == ("cut",)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of a few megabytes, for root alone."""
    folder = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
    folder.chmod(0o755)
    command = ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("only root can mount a disk of a few megabytes")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
    folder.rmdir()


def fill(path: Path) -> None:
    """To the last byte."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass


@pytest.mark.timeout(170)
async def test_the_disk_of_the_database_is_full(small_disk: Path, tmp_path: Path) -> None:
    """It may stop for that and refuse to start: whoever looks after it starts it once there is room."""
    data, filler = small_disk / "pg", small_disk / "filler"
    data.mkdir()
    server = PostgresServer({"max_wal_size": "16MB", "min_wal_size": "2MB"}, folder=data)

    async def fault() -> None:
        await asyncio.to_thread(fill, filler)
        await asyncio.sleep(5)
        filler.unlink()
        if not server.running:
            await asyncio.to_thread(server.start)

    try:
        await asyncio.to_thread(server.start)
        clients = await through(server.url, tmp_path, fault)
    finally:
        server.remove()
    assert clients.refused
