"""Two ``stepwell serve`` on one PostgreSQL: both work, and when one is killed with ``kill -9`` the other ends all of it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from stepwell.server.build import open_store
from stepwell.server.store.base import RunQuery, Store
from stepwell.server.store.postgres.connect import connect
from stepwell.testing.platform.postgres import clean_database
from tests.crash.serve_process import SEAL, ServeProcess, serving
from tests.crash.upstream import Upstream
from tests.ports import free_port

RUNS = 40


@asynccontextmanager
async def functions(upstream: str) -> AsyncIterator[str]:
    """The functions in a process of their own, behind HTTP: its url."""
    port = free_port()
    async with serving("tests.crash.served_app", str(port), env={"UPSTREAM": upstream}):
        yield f"http://127.0.0.1:{port}/api/stepwell"


async def recorded(store: Store) -> dict[tuple[str, str], bytes]:
    runs = [run.run_id for run in await store.list_runs(RunQuery(limit=1_000))]
    views = await store.load_runs(runs)
    steps = [step for view in views for step in view.steps.values() if step.ended]
    return {(step.run_id, step.name): step.memo or b"" for step in steps}


@pytest.mark.timeout(170)
async def test_one_of_two_is_killed_and_the_other_ends_all_of_it(tmp_path: Path) -> None:
    url = await clean_database()
    store = open_store(url, keys=[SEAL])
    await store.open()
    async with Upstream(delay_s=0.2) as upstream, functions(upstream.url) as app:
        first = ServeProcess(url, tmp_path / "first.db", "-u", app)
        second = ServeProcess(url, tmp_path / "second.db")  # hears of the app from the first
        await first.start()
        await second.start()
        for platform in (first, second):
            await platform.until(platform.has_functions)
        for platform in (first, second):
            await platform.send([{"name": "load", "data": {"n": n}} for n in range(RUNS // 2)])
        owners = await both_work(url)
        await upstream.reaches(RUNS + 20)
        there = (await second.get("/v1/workers"))["data"]
        await first.kill()
        before = await recorded(store)
        doubtful = Counter(key for key in upstream.seen if upstream.steps.get(key) not in before)

        async def all_over() -> bool:
            statuses = [run.status.value for run in await store.list_runs(RunQuery(limit=1_000))]
            assert "failed" not in statuses
            return statuses == ["completed"] * RUNS

        await second.until(all_over, 90)
        assert await second.stop() == 0
        final = await recorded(store)
    left = [worker.worker_id for worker in await store.workers()]
    await store.close()
    assert len(owners) == 2
    assert [worker["status"] for worker in there] == ["Active"] * 2
    assert left == [there[0]["id"]], "who was killed is still listed, who was stopped is not"
    assert 0 < len(before) < len(final) == RUNS * 6
    assert before.items() <= final.items(), "a recorded result changed"
    assert len(upstream.seen) == RUNS * 4, "a request had two idempotency keys"
    for key, count in upstream.seen.items():
        assert count <= 1 + doubtful[key], f"{upstream.steps[key]} was sent again although it was on record"


async def both_work(url: str) -> set[str]:
    """Wait until two processes have claimed something; who they are."""
    conn = await connect(url)
    owners: set[str] = set()
    try:
        async with asyncio.timeout(30):
            while len(owners) < 2:
                rows = await conn.fetch("SELECT DISTINCT owner FROM stepwell.items WHERE owner IS NOT NULL")
                owners.update(owner for (owner,) in rows)
                await asyncio.sleep(0.02)
    finally:
        await conn.close()
    return owners
