"""A run that ended before one that it had invoked: it is deleted once it is old, and its child goes on and ends."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

import stepwell
from stepwell.cli.check_runs import examine_runs
from stepwell.cli.checks import Verdict
from stepwell.core.retention import DAY_MS
from stepwell.embed import Embedded
from stepwell.server.runtime.retention import prune
from stepwell.server.store.base import Old
from stepwell.testing.platform.postgres import clean_database
from tests.e2e.ugly import api, platform, until

KEEP = 7 * DAY_MS
KEYS = ("ab" * 32,)
client = stepwell.Client("family")


@client.create_function(fn_id="child", trigger=[], retries=0)
async def child(ctx: stepwell.Context) -> str:
    found = await ctx.step.wait_for_event("wait", event="grown", timeout="300d")
    if found is None or found.data["well"] is not True:
        raise stepwell.NonRetriableError("unwell")
    return "grown"


@client.create_function(fn_id="parent", trigger=stepwell.TriggerEvent(event="born"), retries=0)
async def parent(ctx: stepwell.Context) -> str:
    try:
        await ctx.step.invoke("child", function=child, timeout="1s")
    except stepwell.StepError:
        return "gone"
    return "together"


async def runs_of(running: Embedded, function: str) -> list[dict[str, Any]]:
    status, _, found = await api(running, "GET", f"/v1/runs?function=family-{function}")
    assert status == 200
    return found["data"]


async def left_alone(running: Embedded) -> tuple[str, str]:
    """The ids of a parent that has been deleted and of its child, which waits."""
    [result] = await running.send_and_wait("born", timeout=20)
    assert result.output == "gone"
    [found] = await runs_of(running, "child")
    assert found["status"] == "Running"
    engine = running._host_engine()
    counts = await running._host.ask(prune(engine.store, engine.now() + 8 * DAY_MS, KEEP))
    assert counts[Old.RUNS] == 1
    assert await running.run(result.run_id) is None
    return result.run_id, found["run_id"]


@pytest.mark.parametrize("well", [True, False])
@pytest.mark.parametrize("db", ["memory", "sqlite", "postgresql"])
async def test_a_child_ends_as_it_would(tmp_path: Path, db: str, well: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Its outcome, which nobody waits for, is dropped; by a process that knew the parent, or one that has started since."""
    urls = {"memory": "memory:", "sqlite": f"sqlite:///{tmp_path}/s.db"}
    settings: dict[str, Any] = {"db": urls[db] if db in urls else await clean_database(), "encryption_keys": KEYS}
    async with platform(tmp_path, client, **settings) as running:
        gone, left = await left_alone(running)
        if db == "memory":
            await ends(running, gone, left, well)
    if db != "memory":
        async with platform(tmp_path, client, **settings) as running:
            await ends(running, gone, left, well)
            made = running.settings
        assert {check.verdict for check in await examine_runs(made)} == {Verdict.OK}
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def ends(running: Embedded, gone: str, left: str, well: bool) -> None:
    await running.send("grown", {"well": well})

    async def over() -> bool:
        found = await running.run(left)
        return found is not None and found.ended

    await until(over, 20)
    result = await running.run(left)
    assert result is not None
    assert result.status == ("completed" if well else "failed")

    async def dropped() -> bool:
        return not await running._host.ask(running._host_engine().store.list_items(gone))

    await until(dropped, 20)
    assert await running.run(gone) is None
    async with aiohttp.ClientSession(running.url) as session:
        for path, status in ((f"/v1/runs/{left}", 200), (f"/runs/{left}", 200), (f"/runs/{gone}", 404)):
            async with session.get(path) as answer:
                assert answer.status == status, path
    engine = running._host_engine()
    counts = await running._host.ask(prune(engine.store, engine.now() + 8 * DAY_MS, KEEP))
    assert counts[Old.RUNS] == 1
    assert await runs_of(running, "child") == []
