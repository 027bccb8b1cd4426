"""The lease of a process, over stalls."""

import asyncio
from typing import Any, cast

import pytest

from stepwell.core.outputs import Commit
from stepwell.server.runtime import leases
from stepwell.server.runtime.leases import Leases
from stepwell.server.store.base import ClaimRequest
from stepwell.server.store.memory import MemoryStore
from stepwell.testing.platform.store_conformance import a_run, an_item


class StallingStore(MemoryStore):
    """The process stands still for a minute as soon as its lease is stored."""

    now_ms = 0
    looks = 0

    def now(self) -> int:
        return self.now_ms

    async def heartbeat(self, owner: str, expires_at: int) -> None:
        await super().heartbeat(owner, expires_at)
        self.now_ms += 60_000

    async def rescue(self, now: int) -> int:
        self.looks += 1
        return await super().rescue(now)


async def test_who_stalls_between_heartbeat_and_rescue_does_not_rescue_its_own_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.001)
    store = StallingStore()
    await store.open()
    lease = Leases(store, store, "me", cast(Any, None))
    await lease.start()
    claim = ClaimRequest("me", 1, 0)
    await store.transact([Commit(now=0, run=a_run(version=1), put=(an_item("i"),))], claim)
    before = store.looks
    async with asyncio.timeout(20):
        while store.looks < before + 3:
            await asyncio.sleep(0.001)
    await lease.stop()
    (item,) = await store.list_items("R1")
    assert item.rescues == 0
    assert (await store.counts()).claimed == 1
