"""Many runs ended at once, by an expression: those that are there, those that begin a moment later, none besides."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

import stepwell
from stepwell.core.cancellations import begin as begin_cancelling
from stepwell.core.model import Cancellation
from stepwell.embed import Embedded
from stepwell.server.build import open_store
from stepwell.wire.ids import ulid
from tests.ports import free_port

client = stepwell.Client(app_id="many")
cleaned: list[int] = []
called: list[int] = []


@client.create_function(fn_id="long", trigger=stepwell.TriggerEvent(event="long"))
async def long(ctx: stepwell.Context) -> None:
    called.append(ctx.event.data["n"])
    await ctx.step.sleep("long", "1h")


@client.create_function(fn_id="other", trigger=stepwell.TriggerEvent(event="long"))
async def other(ctx: stepwell.Context) -> None:
    await ctx.step.sleep("long", "1h")


@client.create_function(
    fn_id="cleans",
    trigger=stepwell.TriggerEvent(
        event="inngest/function.cancelled", expression="event.data.function_id == 'many-long'"
    ),
)
async def cleans(ctx: stepwell.Context) -> None:
    cleaned.append(ctx.event.data["event"]["data"]["n"])


@pytest.fixture(autouse=True)
def forgotten() -> None:
    cleaned.clear()
    called.clear()


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Embedded]:
    async with stepwell.embedded(client, db=f"sqlite:///{tmp_path / 'p.db'}", port=free_port()) as running:
        yield running


@pytest.fixture
async def http(platform: Embedded) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=platform.url, trust_env=False, timeout=20) as found:
        yield found


def at(seconds: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def begin(platform: Embedded, count: int) -> None:
    """Start ``count`` runs of each function, and wait until all of them sleep."""
    await client.send([stepwell.Event(name="long", data={"n": n}) for n in range(count)])
    await counted(platform, "many-long", {"running": count}, steps=1)
    await counted(platform, "many-other", {"running": count}, steps=1)


async def states(platform: Embedded, function: str, steps: int = 0) -> dict[str, int]:
    async with httpx2.AsyncClient(base_url=platform.url, trust_env=False, timeout=20) as http:
        found = (await http.get("/v1/runs", params={"function": function, "limit": 1000})).json()["data"]
    names = [run["status"].lower() for run in found if run["steps"] >= steps]
    return {name: names.count(name) for name in set(names)}


async def counted(platform: Embedded, function: str, wanted: dict[str, int], steps: int = 0) -> None:
    async with asyncio.timeout(20):
        while await states(platform, function, steps) != wanted:
            await asyncio.sleep(0.02)


async def asked(http: httpx2.AsyncClient, **more: Any) -> dict[str, Any]:
    body = {"app_id": "many", "function_id": "long", "started_before": at()} | more
    answer = await http.post("/v1/cancellations", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_those_that_meet_the_expression_end_and_the_others_go_on(
    platform: Embedded, http: httpx2.AsyncClient
) -> None:
    """More than are looked at in one transaction."""
    await begin(platform, 250)
    made = await asked(http, **{"if": "event.data.n < 240 && event.data.n % 2 == 0"})
    await counted(platform, "many-long", {"cancelled": 120, "running": 130})
    assert await states(platform, "many-other") == {"running": 250}
    async with asyncio.timeout(20):
        while len(cleaned) < 120:
            await asyncio.sleep(0.02)
    assert sorted(cleaned) == list(range(0, 240, 2))
    assert (await http.get("/v1/cancellations")).json()["data"] == [made]
    (run,) = (await http.get("/v1/runs", params={"status": "cancelled", "limit": 1})).json()["data"]
    assert made["id"] in run["output"]["message"]


async def test_what_the_api_says(platform: Embedded, http: httpx2.AsyncClient) -> None:
    made = await asked(http, started_after=at(-60), **{"if": "event.data.n == 1"})
    members = ["id", "created_at", "environment_id", "function_id", "function_internal_id", "started_after"]
    assert list(made) == [*members, "started_before", "kind", "cause", "if"]
    assert (made["function_id"], made["if"]) == ("long", "event.data.n == 1")
    assert (await http.delete(f"/v1/cancellations/{made['id']}")).json()["data"] == {"ok": True}
    assert (await http.delete(f"/v1/cancellations/{made['id']}")).status_code == 404
    assert (await http.get("/v1/cancellations")).json()["data"] == []
    wrong = [
        {"started_before": at(60)},
        {"started_before": None},
        {"started_before": "yesterday"},
        {"started_before": -1},
        {"started_after": at(1)},
        {"if": "event.data.("},
        {"if": "async.data.x == 1"},
        {"app_id": ""},
        {"function_id": 1},
    ]
    for part in wrong:
        body = {"app_id": "many", "function_id": "long", "started_before": at()} | part
        answer = await http.post("/v1/cancellations", json=body)
        assert (answer.status_code, answer.json()["status"]) == (400, 400), part
    for part in ({"app_id": "more"}, {"function_id": "short"}):
        body = {"app_id": "many", "function_id": "long", "started_before": at()} | part
        assert (await http.post("/v1/cancellations", json=body)).status_code == 404


async def test_runs_that_begin_a_moment_later_are_ended_and_never_called(
    platform: Embedded, http: httpx2.AsyncClient
) -> None:
    await asked(http, started_before=at(4), **{"if": "event.data.n == 7"})
    await client.send([stepwell.Event(name="long", data={"n": n}) for n in (6, 7)])
    await counted(platform, "many-long", {"cancelled": 1, "running": 1})
    assert called == [6]


async def test_runs_outside_of_the_time_go_on(platform: Embedded, http: httpx2.AsyncClient) -> None:
    await begin(platform, 3)
    await asked(http, started_before=at(-30))
    await asked(http, started_after=at(-0.000001), started_before=at(1))
    await client.send(stepwell.Event(name="long", data={"n": 9}))
    await counted(platform, "many-long", {"cancelled": 1, "running": 3})


async def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    db = f"sqlite:///{tmp_path / 'p.db'}"
    async with stepwell.embedded(client, db=db, port=free_port()) as platform:
        await begin(platform, 150)
    store = open_store(db)
    await store.open()
    now = int(datetime.now(UTC).timestamp() * 1000)
    all_of_them = Cancellation(
        cancellation_id=ulid(now, bytes(10)), created_at=now, app_id="many", function_id="many-long", started_before=now
    )
    await store.transact([begin_cancelling(all_of_them)])
    await store.close()
    async with stepwell.embedded(client, db=db, port=free_port()) as platform:
        await counted(platform, "many-long", {"cancelled": 150})
        assert await states(platform, "many-other") == {"running": 150}


async def test_the_command_line(platform: Embedded, http: httpx2.AsyncClient, tmp_path: Path) -> None:
    await begin(platform, 3)

    def stepwell_cancel(*args: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "stepwell.cli.main", "cancel", *args, "--url", platform.url]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)

    (run, *_) = (await http.get("/v1/runs", params={"function": "many-other"})).json()["data"]
    done = await asyncio.to_thread(stepwell_cancel, run["run_id"])
    assert (done.returncode, done.stdout) == (0, f"cancelled {run['run_id']}\n"), done.stderr
    assert await states(platform, "many-other") == {"cancelled": 1, "running": 2}
    done = await asyncio.to_thread(stepwell_cancel, "--app", "many", "--function", "long", "--if", "event.data.n > 0")
    assert done.stdout.startswith("cancellation 01"), done.stderr
    await counted(platform, "many-long", {"cancelled": 2, "running": 1})
    done = await asyncio.to_thread(stepwell_cancel, "--app", "many", "--function", "none")
    assert (done.returncode, "has no function" in done.stderr) == (1, True)
