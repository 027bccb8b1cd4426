"""A PostgreSQL with a synchronous standby, and what can happen to it."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

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

    async def fail_over(self) -> None:
        """The primary is gone, and a second later the standby takes its place."""
        await asyncio.to_thread(self.primary.signal, signal.SIGKILL)
        await asyncio.sleep(1)
        await asyncio.to_thread(self.standby.promote)


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    """Nothing that it confirms is on one of its two servers only."""
    primary = PostgresServer()
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
