"""Pause and resume, as users do it: over the API and on the command line, on a database file that is opened again."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

import stepwell
from stepwell.embed import Embedded
from tests.ports import free_port

client = stepwell.Client(app_id="halt")


@client.create_function(fn_id="ship", trigger=stepwell.TriggerEvent(event="order"))
async def ship(ctx: stepwell.Context) -> str:
    return f"shipped {ctx.event.data['n']}"


@client.create_function(fn_id="ask", trigger=stepwell.TriggerEvent(event="ask"))
async def ask(ctx: stepwell.Context) -> str:
    try:
        return await ctx.step.invoke("ship", function=ship, data={"n": 9})
    except stepwell.StepError as error:
        return f"{error.name}: {error.message}"


def running(folder: Path) -> "stepwell.embedded":
    return stepwell.embedded(client, db=f"sqlite:///{folder / 'p.db'}", port=free_port())


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Embedded]:
    async with running(tmp_path) as found:
        yield found


async def outcome(platform: Embedded, name: str, n: int) -> tuple[str, object]:
    """What became of an event: the status of its run, and its output or why it was skipped."""
    async with httpx2.AsyncClient(base_url=platform.url) as http:
        sent = await http.post("/e/dev", json={"name": name, "data": {"n": n}})
        (event_id,) = sent.json()["ids"]
        [run] = (await http.get(f"/v1/events/{event_id}/runs")).json()["data"]
        run = (await http.get(f"/v1/runs/{run['run_id']}", params={"wait": "20"})).json()["data"]
        return run["status"], run.get("output", run.get("skip_reason"))


async def shell(url: str, *args: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "stepwell.cli.main", "functions", *args, "--url", url]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)


async def test_pause_and_resume_on_the_command_line(platform: Embedded) -> None:
    done = await shell(platform.url)
    assert [line.split() for line in done.stdout.splitlines()] == [["halt-ask", "active"], ["halt-ship", "active"]]
    done = await shell(platform.url, "pause", "halt-ship")
    assert done.stdout.startswith("halt-ship is paused. "), done.stderr
    assert "halt-ship  paused since 20" in (await shell(platform.url)).stdout
    assert await outcome(platform, "order", 1) == ("Skipped", "paused")
    done = await shell(platform.url, "resume", "halt-ship", "--json")
    assert json.loads(done.stdout)["paused"] is False
    assert await outcome(platform, "order", 2) == ("Completed", "shipped 2")
    done = await shell(platform.url, "pause", "halt-none")
    assert (done.returncode, "no function 'halt-none'" in done.stderr) == (1, True)


async def test_who_invokes_a_paused_function_can_catch_the_error(platform: Embedded) -> None:
    async with httpx2.AsyncClient(base_url=platform.url) as http:
        assert (await http.post("/v1/functions/halt-ship/pause")).status_code == 200
    said = "InvokedFunctionPaused: The function halt-ship is paused: it starts no runs until it is resumed."
    assert await outcome(platform, "ask", 0) == ("Completed", said)


async def test_a_pause_outlives_the_process_and_the_next_registration(tmp_path: Path) -> None:
    async with running(tmp_path) as platform, httpx2.AsyncClient(base_url=platform.url) as http:
        await http.post("/v1/functions/halt-ship/pause")
    async with running(tmp_path) as platform:
        assert await outcome(platform, "order", 1) == ("Skipped", "paused")
