"""The processes of the platform: each writes itself down, the API and the command line list them."""

import asyncio
import os
import socket

import pytest

from stepwell.cli.workers import table
from stepwell.server.api.workers import render_worker
from stepwell.server.clock import SystemClock
from stepwell.server.runtime import presence
from stepwell.server.runtime.presence import FORGET_MS, GONE_MS, About, Presence
from stepwell.server.store.base import StoreError, WorkerRecord
from stepwell.server.store.memory import MemoryStore
from stepwell.testing.platform.worker_conformance import a_worker
from stepwell.wire.calls import Answer, CallRequest
from stepwell.wire.constants import VERSION
from tests.server.api_fakes import NOW, FakeEngine, api_client
from tests.server.test_engine import running


class FailingStore(MemoryStore):
    """Refuses a beat as often as it is told to."""

    refusals = 0

    async def beat(self, worker: WorkerRecord, forget: int) -> None:
        if self.refusals:
            self.refusals -= 1
            raise StoreError("not now")
        await super().beat(worker, forget)


async def _no_call(_: CallRequest) -> Answer:
    raise AssertionError


async def until_beats(store: MemoryStore, items: int) -> WorkerRecord:
    """The record once it says so many items."""
    async with asyncio.timeout(20):
        while True:
            for worker in await store.workers():
                if worker.items == items:
                    return worker
            await asyncio.sleep(0.01)


async def test_a_process_says_what_it_is_and_what_it_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a beat that failed; and takes its record away when it ends."""
    monkeypatch.setattr(presence, "BEAT_S", 0.01)
    store, about = FailingStore(), About(("shop",), 3, leads=True)
    found = Presence(store, SystemClock(), "W1", lambda: about)
    await found.start()
    first = await until_beats(store, 3)
    assert (first.worker_id, first.host, first.pid) == ("W1", socket.gethostname(), os.getpid())
    assert (first.version, first.apps, first.leads, first.stopping) == (VERSION, ("shop",), True, False)
    store.refusals, about = 2, About((), 8, stopping=True)
    later = await until_beats(store, 8)
    assert later.stopping
    assert later.beat_at > later.started_at == first.started_at
    await found.stop()
    assert await store.workers() == []


async def test_a_beat_forgets_who_is_long_gone() -> None:
    store = MemoryStore()
    now = SystemClock().now()
    await store.beat(a_worker("W0", now - FORGET_MS - 1), 0)
    await store.beat(a_worker("W1", now - GONE_MS - 1), 0)
    found = Presence(store, SystemClock(), "W2", About)
    await found.start()
    assert [worker.worker_id for worker in await store.workers()] == ["W1", "W2"]
    await found.stop()


async def test_an_engine_is_listed_until_it_is_closed() -> None:
    async with running(_no_call) as rig:
        (worker,) = await rig.engine.workers()
        assert (worker.pid, worker.items, worker.leads, worker.stopping) == (os.getpid(), 0, True, False)
    assert await rig.engine.store.workers() == []


async def test_the_api_lists_processes() -> None:
    """The oldest first; one whose beat has stopped is gone, whatever it said last."""
    engine = FakeEngine()
    gone = a_worker("W1", NOW - GONE_MS - 1, stopping=True, leads=True)
    engine.processes = [a_worker("W3", NOW, items=4), gone, a_worker("W2", NOW - GONE_MS, stopping=True)]
    async with api_client(engine) as api:
        found = (await api.get("/v1/workers")).json()["data"]
    assert [(one["id"], one["status"]) for one in found] == [("W1", "Gone"), ("W2", "Stopping"), ("W3", "Active")]
    assert found[0]["leads"] is False
    assert found[2] == {
        "id": "W3",
        "status": "Active",
        "host": "machine",
        "pid": 7,
        "version": "1.2.3",
        "started_at": "1970-01-01T00:00:00.001Z",
        "last_beat_at": "2026-11-18T11:06:40.000Z",
        "leads": False,
        "apps": ["a", "b"],
        "items": 4,
    }


def test_processes_in_columns() -> None:
    found = [render_worker(a_worker(name, NOW, items=12, leads=True), NOW) for name in ("W1", "W22")]
    head, first, second = table(found).splitlines()
    assert head.split() == ["WORKER", "STATUS", "HOST", "PID", "VERSION", "STARTED", "LEADS", "ITEMS", "APPS"]
    assert first.split()[:5] == ["W1", "Active", "machine", "7", "1.2.3"]
    assert second.endswith("  yes    12     a b")
    assert table([]) == "No platform works on this database."
