"""Three ``stepwell serve`` on one PostgreSQL, and the app that they call, which counts."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec

from stepwell.core.model import Run
from stepwell.server.build import open_store
from stepwell.server.store.base import RunQuery, Store
from stepwell.server.store.postgres.connect import connect
from stepwell.testing.platform.postgres import make_database
from tests.clusters.counting_app import Seen
from tests.crash.platform_process import free_port
from tests.crash.serve_process import SEAL, ServeProcess, serving

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

    async def send(self, events: Sequence[dict[str, object]]) -> None:
        """To one of the servers, and to another one when that does not answer."""
        for _ in range(20):
            server = self._random.choice(self.servers)
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
        async with self._http.get(f"{self._app}/open") as response:
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
                await asyncio.sleep(0.2)
        finally:
            await conn.close()

    async def until_app_has(self, what: str) -> None:
        async with asyncio.timeout(30):
            while all(found.what != what for found in await self.seen()):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def cluster(folder: Path, hosts: Sequence[dict[str, object]], seed: int) -> AsyncIterator[Cluster]:
    """All of it, started. ``hosts``: the rules of the second and the third port of the app.

    The app is made to look as if it had been synced long ago: each server that starts then finds that the last tick of its
    cron has just passed, and has to find out that another one has seen to it.
    """
    ports = [free_port() for _ in range(3)]
    rules = {f"127.0.0.1:{port}": rule for port, rule in zip(ports[1:], hosts, strict=True)}
    url = await make_database()
    store = open_store(url, keys=[SEAL])
    await store.open()
    app = f"http://127.0.0.1:{ports[0]}"
    env = {"STEPWELL_HOSTS": json.dumps(rules)}
    async with serving("tests.clusters.counting_app", *map(str, ports)):
        servers = [
            ServeProcess(url, folder / f"{n}.db", *(("-u", f"{app}/api/stepwell") if n == 0 else ()), env=env)
            for n in range(3)
        ]
        made = Cluster(url, store, servers.copy(), app, seed)
        try:
            await servers[0].start()
            await servers[0].until(lambda: _knows(servers[0]))
            (record,) = await store.load_apps()
            await store.save_app(msgspec.structs.replace(record, synced_at=record.synced_at - LONG_AGO_MS))
            await asyncio.gather(*(server.start() for server in servers[1:]))
            for server in servers[1:]:
                await server.until(lambda server=server: _knows(server))
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


async def _knows(server: ServeProcess) -> bool:
    return "counting-few" in str(await server.get("/v1/apps/counting/functions"))


async def _end(server: ServeProcess) -> None:
    """Where a test has failed, it is still there."""
    if server._process is not None and server._process.returncode is None:
        await server.kill()
