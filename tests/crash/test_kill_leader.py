"""Two ``stepwell serve`` on one PostgreSQL: the one that starts crons is killed, the other one goes on with them."""

import os
from collections import Counter
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from stepwell.core.cron import Cron, next_runs
from stepwell.server.build import open_store
from stepwell.server.clock import SystemClock
from stepwell.server.store.base import AppRecord, RunQuery, Store
from stepwell.testing.platform.postgres import clean_database
from tests.crash.serve_process import SEAL, ServeProcess

CRONS = [Cron(f"clock-{n}", "* * * * *", 55_000) for n in range(30)]
"""Every minute, each at a time of its own: one every two seconds."""


async def sync(store: Store) -> int:
    """Register the app; since when its crons run."""
    step = {"id": "step", "name": "step", "runtime": {"type": "http", "url": "http://127.0.0.1:9/api?fnId=x"}}
    functions = [
        {"id": one.function_id, "name": "n", "triggers": [{"cron": one.cron, "jitter": "55s"}], "steps": {"step": step}}
        for one in CRONS
    ]
    now = SystemClock().now()
    app = AppRecord(
        app_id="clock",
        url="http://127.0.0.1:9/api",
        sdk="js:v1",
        checksum="",
        functions=msgspec.json.encode(functions),
        synced_at=now,
    )
    await store.save_app(app)
    return now


async def started(store: Store) -> dict[tuple[str, str], int]:
    """When each tick fires that has a run. Fails where one has two."""
    found: Counter[tuple[str, str]] = Counter()
    fires: dict[tuple[str, str], int] = {}
    for run in await store.list_runs(RunQuery(app_id="clock", limit=1_000)):
        event = await store.get_event(run.event_ids[0])
        assert event is not None
        data = msgspec.json.decode(event.body)["data"]
        tick = (run.function_id, data["scheduledAt"])
        found[tick] += 1
        fires[tick] = round(datetime.fromisoformat(data["fireAt"]).timestamp() * 1000)
    assert not [tick for tick, count in found.items() if count > 1], "a tick has two runs"
    return fires


async def until_leads(platform: ServeProcess, before: str = "") -> str:
    """Wait until a process is shown that leads, and is another one than ``before``: its id."""
    found: list[str] = []

    async def is_there() -> bool:
        listed = (await platform.get("/v1/workers"))["data"]
        found[:] = [one["id"] for one in listed if one["leads"] and one["id"] != before]
        return len(found) == 1

    await platform.until(is_there, 45)
    return found[0]


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="waits for half a minute; test_crons has it on set clocks")
@pytest.mark.timeout(170)
async def test_no_tick_is_lost_or_doubled_when_the_leader_is_killed(tmp_path: Path) -> None:
    url = await clean_database()
    store = open_store(url, keys=[SEAL])
    await store.open()
    since = await sync(store)
    first, second = (ServeProcess(url, tmp_path / f"{name}.db") for name in ("first", "second"))
    await first.start()
    before = await until_leads(first)
    await second.start()

    async def has_begun() -> bool:
        return bool(await started(store))

    await second.until(has_begun)
    await first.kill()
    killed_at = SystemClock().now()
    await until_leads(second, before)

    async def goes_on() -> bool:
        return max((await started(store)).values()) > killed_at + 20_000

    await second.until(goes_on, 60)
    await second.stop()
    fires = await started(store)
    await store.close()
    last = max(fires.values())
    ticks = [(cron.function_id, tick) for cron in CRONS for tick in next_runs(cron, since, 10)]
    due = {(fn, tick.scheduled_at) for fn, tick in ticks if tick.fires_at < last}
    had = {(fn, round(datetime.fromisoformat(at).timestamp() * 1000)) for fn, at in fires}
    assert due <= had, "a tick was lost"
