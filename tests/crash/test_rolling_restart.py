"""Several ``stepwell serve`` are replaced one by one while events come in: whatever was acknowledged comes to its end."""

import asyncio
import itertools
import os
from pathlib import Path

import aiohttp
import pytest

from stepwell.server.build import open_store
from stepwell.server.store.base import RunQuery, Store
from stepwell.testing.platform.postgres import clean_database
from tests.crash.serve_process import SEAL, ServeProcess
from tests.crash.test_kill_postgres import functions
from tests.crash.upstream import Upstream

NAMES = ("one", "two", "three") if os.environ.get("CI") == "true" else ("one", "two")
PAUSE_S = 0.15


class Load:
    """Sends events to whoever takes them, as a load balancer does; ``taken``: internal ids of those that were acknowledged."""

    def __init__(self, platforms: list[ServeProcess]) -> None:
        self._platforms = itertools.cycle(platforms)
        self._number = 0
        self.taken: list[str] = []
        self.refused = 0
        self.over = False

    async def run(self) -> None:
        while not self.over:
            self._number += 1
            event = {"name": "load", "id": f"e{self._number}", "data": {"n": self._number}}
            while not await self._send(event):
                self.refused += 1
                await asyncio.sleep(0.01)
            await asyncio.sleep(PAUSE_S)

    async def _send(self, event: dict[str, object]) -> bool:
        """Whether it was acknowledged; the same event may be sent again elsewhere, it has its id."""
        platform = next(self._platforms)
        try:
            self.taken += await platform.send([event])
        except (aiohttp.ClientError, AssertionError, TimeoutError):
            return False
        return True


async def statuses(store: Store) -> list[str]:
    return [run.status.value for run in await store.list_runs(RunQuery(limit=1_000))]


@pytest.mark.timeout(170)
async def test_a_rolling_restart_loses_nothing(tmp_path: Path) -> None:
    url = await clean_database()
    store = open_store(url, keys=[SEAL])
    await store.open()
    async with Upstream(delay_s=0.05) as upstream, functions(upstream.url) as app:
        platforms = [ServeProcess(url, tmp_path / f"{name}.db", "-u", app) for name in NAMES]
        await asyncio.gather(*(platform.start() for platform in platforms))
        for platform in platforms:
            await platform.until(platform.has_functions)
        load = Load(platforms)
        sending = asyncio.ensure_future(load.run())
        for platform in platforms:
            known = len(load.taken)
            assert await platform.stop() == 0
            await platform.start()
            await platform.until(lambda known=known: _grown(load, known))
        load.over = True
        await sending

        async def all_over() -> bool:
            found = await statuses(store)
            return len(found) >= len(load.taken) and set(found) <= {"completed", "failed", "cancelled"}

        await platforms[0].until(all_over, 60)
        codes = [await platform.stop() for platform in platforms]
    ended = await statuses(store)
    started = [len(await store.list_runs(RunQuery(event_id=event_id))) for event_id in load.taken]
    await store.close()
    assert codes == [0] * len(NAMES)
    assert len(load.taken) > 10
    assert ended == ["completed"] * len(load.taken)
    assert started == [1] * len(load.taken), "each event that was acknowledged has its one run"
    assert len(upstream.seen) == 4 * len(load.taken), "a request had two idempotency keys"
    assert max(upstream.seen.values()) == 1, "who is told to stop ends what it has in hand"


async def _grown(load: Load, known: int) -> bool:
    return len(load.taken) > known + 3
