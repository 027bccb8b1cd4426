"""Steps in parallel and races in our SDK: the plain asyncio ways, and groups in both modes."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stepwell
from stepwell.embed import Result, embedded

client = stepwell.Client("races")
ran: list[str] = []


def note(name: str) -> str:
    ran.append(name)
    return name


async def note_late(name: str) -> str:
    return note(name)


@client.create_function(fn_id="wait", trigger=stepwell.TriggerEvent("wait"))
async def wait(ctx: stepwell.Context) -> list[Any]:
    tasks = [
        asyncio.create_task(ctx.step.run("work", note, "work")),
        asyncio.create_task(ctx.step.sleep("long", "1h")),
        asyncio.create_task(ctx.step.wait_for_event("never", event="never", timeout="1d")),
    ]
    done, losers = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for loser in losers:
        loser.cancel()
    return [done.pop().result(), await ctx.step.run("after", note, "after")]


@client.create_function(fn_id="completed", trigger=stepwell.TriggerEvent("completed"))
async def completed(ctx: stepwell.Context) -> str:
    calls = [ctx.step.sleep("long", "1h"), ctx.step.run("work", note_late, "work")]
    for first in asyncio.as_completed([asyncio.ensure_future(call) for call in calls]):
        return str(await first)
    return "none"


def strand(step: stepwell.StepSync, name: str, *naps: str) -> Callable[[], str]:
    def play() -> str:
        for number, nap in enumerate(naps):
            step.sleep(f"{name} {number}", nap)
        return step.run(name, note, name)

    return play


@client.create_function(fn_id="sync-race", trigger=stepwell.TriggerEvent("sync-race"))
def sync_race(ctx: stepwell.ContextSync) -> Any:
    return ctx.group.parallel(
        (strand(ctx.step, "slow", "2s"), strand(ctx.step, "quick", "10ms", "10ms")), parallel_mode="race"
    )


@client.create_function(fn_id="sync-wait", trigger=stepwell.TriggerEvent("sync-wait"))
def sync_wait(ctx: stepwell.ContextSync) -> Any:
    return ctx.group.parallel(
        (strand(ctx.step, "slow", "2s"), strand(ctx.step, "quick", "10ms", "10ms")), stepwell.ParallelMode.WAIT
    )


@client.create_function(fn_id="group", trigger=stepwell.TriggerEvent("group"))
async def group(ctx: stepwell.Context) -> Any:
    return await ctx.group.parallel(
        tuple(lambda name=name: ctx.step.run(name, note_late, name) for name in "abc"), parallel_mode="race"
    )


@client.create_function(fn_id="no-mode", trigger=stepwell.TriggerEvent("no-mode"), retries=0)
def no_mode(ctx: stepwell.ContextSync) -> Any:
    return ctx.group.parallel((), parallel_mode="first")  # type: ignore[arg-type]


async def played(tmp_path: Path, name: str) -> Result:
    ran.clear()
    async with embedded(client, db=f"sqlite:///{tmp_path / 'r.db'}", drain=1) as platform:
        [result] = await platform.send_and_wait(name, timeout=30)
    return result


@pytest.mark.parametrize(
    ("name", "output", "order"),
    [
        ("wait", ["work", "after"], ["work", "after"]),
        ("completed", "work", ["work"]),
        ("sync-race", ["slow", "quick"], ["quick", "slow"]),
        ("sync-wait", ["slow", "quick"], ["slow", "quick"]),
        ("group", ["a", "b", "c"], None),
    ],
)
async def test_the_run_ends_with_the_winner(tmp_path: Path, name: str, output: Any, order: list[str] | None) -> None:
    result = await played(tmp_path, name)
    assert (result.status, result.output) == ("completed", output)
    assert order is None or ran == order


async def test_a_mode_that_there_is_not_is_named(tmp_path: Path) -> None:
    result = await played(tmp_path, "no-mode")
    assert result.status == "failed"
    assert "'first'" in result.output["message"]
