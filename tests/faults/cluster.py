"""A PostgreSQL with a synchronous standby, and what can happen to it."""

import asyncio
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from stepwell.server.store.base import StoreError
from stepwell.server.store.postgres.connect import connect
from stepwell.server.store.postgres.failures import explained
from stepwell.testing.platform.postgres import PostgresServer

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"


async def ask(url: str, *statements: str) -> None:
    """Run statements on a connection of their own; again while the database is away."""
    for _ in range(300):
        try:
            with explained():
                conn = await connect(url)
                try:
                    for statement in statements:
                        await conn.execute(statement)
                finally:
                    conn.terminate()
            return
        except StoreError:
            await asyncio.sleep(0.1)
    raise TimeoutError("the database does not come back")


@contextmanager
def small_disk() -> Iterator[Path | None]:
    """A disk of a few megabytes. None: only root can have one."""
    folder = Path(tempfile.mkdtemp(prefix="stepwell-disk-"))
    folder.chmod(0o755)
    command = ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def fill(path: Path) -> None:
    """To the last byte of the disk."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass


@dataclass
class Cluster:
    """``url`` names both hosts, and leads to the one that can be written to."""

    primary: PostgresServer
    standby: PostgresServer

    @property
    def url(self) -> str:
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        return f"postgresql://stepwell@{hosts}/postgres?target_session_attrs=read-write"

    async def cut(self, times: int) -> None:
        """Every second all connections to the database end."""
        for _ in range(times):
            await ask(self.primary.url, CUT)
            await asyncio.sleep(1)

    async def restart(self) -> None:
        """It is stopped in immediate mode, which is SIGQUIT, and started a second later."""
        await asyncio.to_thread(self.primary.stop)
        await asyncio.sleep(1)
        await asyncio.to_thread(self.primary.start)

    async def freeze(self, seconds: float) -> None:
        """It stands still: no connection breaks, and none is answered."""
        self.primary.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self.primary.signal(signal.SIGCONT)

    async def full(self, seconds: float) -> None:
        """The disk of the primary is full. It may stop for that: whoever looks after it starts it once there is room."""
        filler = self.primary.folder.parent / "filler"
        await asyncio.to_thread(fill, filler)
        await asyncio.sleep(seconds)
        filler.unlink()
        if not self.primary.running:
            await asyncio.to_thread(self.primary.start)

    async def fail_over(self) -> None:
        """The primary is gone, and a second later the standby takes its place."""
        await asyncio.to_thread(self.primary.signal, signal.SIGKILL)
        await asyncio.sleep(1)
        await asyncio.to_thread(self.standby.promote)


@asynccontextmanager
async def cluster(disk: Path | None = None) -> AsyncIterator[Cluster]:
    """Nothing that it confirms is on one of its two servers only. ``disk``: where the primary is."""
    primary = PostgresServer({"max_wal_size": "16MB", "min_wal_size": "2MB"}, folder=_folder(disk))
    try:
        await asyncio.to_thread(primary.start)
        standby = await asyncio.to_thread(lambda: PostgresServer(standby_of=primary))
        try:
            await asyncio.to_thread(standby.start)
            await ask(primary.url, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
            yield Cluster(primary, standby)
        finally:
            standby.remove()
    finally:
        primary.remove()


def _folder(disk: Path | None) -> Path | None:
    if disk is None:
        return None
    (disk / "primary").mkdir()
    return disk / "primary"
