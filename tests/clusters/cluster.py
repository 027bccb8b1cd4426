"""Three ``stepwell serve`` on one PostgreSQL, and the app that they call, which counts."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec

from stepwell.core.model import Run
from stepwell.server.build import open_store
from stepwell.server.store.base import AppRecord, RunQuery, Store
from stepwell.server.store.postgres.connect import connect
from stepwell.testing.platform.postgres import make_database
from tests.clusters.counting_app import Seen, client
from tests.crash.serve_process import SEAL, ServeProcess, serving
from tests.ports import free_port

LONG_AGO_MS = 120_000


class Cluster:
    """``servers``: those that live. ``owners``: whoever has worked on anything, as the database says."""

    def __init__(self, url: str, store: Store, servers: list[ServeProcess], app: str, seed: int) -> None:
        self.store = store
        self.servers = servers
        self.owners: set[str] = set()
        self._url = url
        self._app = app
        self._random = random.Random(seed)
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20))

    async def close(self) -> None:
        await self._http.close()

    async def send(self, events: Sequence[dict[str, object]], first: ServeProcess | None = None) -> None:
        """To one of the servers (``first``: that one), and to another one when that does not answer."""
        for attempt in range(20):
            server = first if first is not None and not attempt else self._random.choice(self.servers)
            try:
                async with self._http.post(f"{server.url}/e/test", json=events) as response:
                    assert response.status == 200, await response.text()
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
        raise AssertionError("no server takes events")

    async def kill_one(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        victim = self.servers.pop(self._random.randrange(len(self.servers)))
        await victim.kill()

    async def seen(self) -> list[Seen]:
        """What the app and the upstream have seen so far."""
        async with self._http.get(f"{self._app}/seen") as response:
            return msgspec.json.decode(await response.read(), type=list[Seen])

    async def open_gate(self) -> None:
        """Let the first of the ranked runs end."""
        await self._tell_app("open")

    async def mend(self) -> None:
        """Let the host that fails be well again."""
        await self._tell_app("mend")

    async def _tell_app(self, what: str) -> None:
        async with self._http.get(f"{self._app}/{what}") as response:
            assert response.status == 200

    async def active(self, function: str) -> list[Run]:
        """The runs of a function that have not ended."""
        return await self.store.list_runs(RunQuery(function_id=f"counting-{function}", active=True, limit=5_000))

    async def over(self) -> bool:
        """Whether nothing is left to do."""
        counts = await self.store.counts()
        return not counts.queued and not counts.claimed and not counts.runs.keys() & {"queued", "running"}

    async def note_owners(self) -> None:
        """Look at who works on what, until cancelled."""
        conn = await connect(self._url)
        try:
            while True:
                rows = await conn.fetch("SELECT DISTINCT owner FROM stepwell.items WHERE owner IS NOT NULL")
                self.owners.update(owner for (owner,) in rows)
                await asyncio.sleep(0.1)
        finally:
            await conn.close()

    async def until_app_has(self, what: str) -> None:
        async with asyncio.timeout(30):
            while all(found.what != what for found in await self.seen()):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def cluster(folder: Path, hosts: Sequence[dict[str, object]], seed: int) -> AsyncIterator[Cluster]:
    """All of it, started. ``hosts``: the rules of the second and the third port of the app.

    The app is stored as if it had been synced long ago. So who leads finds that the last tick of its cron has just passed.
    """
    ports = [free_port() for _ in range(4)]
    rules = {f"127.0.0.1:{port}": rule for port, rule in zip(ports[1:], hosts, strict=False)}
    url = await make_database()
    store = open_store(url, keys=[SEAL])
    await store.open()
    app = f"http://127.0.0.1:{ports[0]}"
    await store.save_app(_record(f"{app}/api/stepwell"))
    env = {"STEPWELL_HOSTS": json.dumps(rules)}
    servers = [ServeProcess(url, folder / f"{n}.db", env=env) for n in range(3)]
    made = Cluster(url, store, servers.copy(), app, seed)
    async with serving("tests.clusters.counting_app", *map(str, ports)):
        try:
            await asyncio.gather(*(server.start() for server in servers))
            noting = asyncio.create_task(made.note_owners())
            yield made
            noting.cancel()
            await asyncio.wait([noting])
            for server in made.servers:
                assert await server.stop() == 0
        finally:
            await made.close()
            await asyncio.gather(*map(_end, servers))
            await store.close()


def _record(url: str) -> AppRecord:
    functions = msgspec.json.encode([function.config(url) for function in client.functions])
    synced_at = int(time.time() * 1000) - LONG_AGO_MS
    return AppRecord(app_id=client.app_id, url=url, sdk="", checksum="", functions=functions, synced_at=synced_at)


async def _end(server: ServeProcess) -> None:
    """Where a test has failed, it is still there."""
    if server._process is not None and server._process.returncode is None:
        await server.kill()
