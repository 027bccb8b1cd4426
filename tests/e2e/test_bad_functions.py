"""User code that does what it should not: each run ends, with a message that names the place and the way out."""

import asyncio
import contextlib
import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from stepwell import Client, Context, ContextSync, TriggerEvent
from stepwell.embed import Result
from tests.e2e.ugly import api, finish, platform, until

GO = TriggerEvent("go")


class Opaque:
    """Nothing that JSON knows."""


def circle() -> list[Any]:
    """A list that contains itself."""
    made: list[Any] = []
    made.append(made)
    return made


UNWRITABLE = {
    "an object": (lambda: {"rows": [1, Opaque()]}, "Opaque at $['rows'][1]"),
    "a lock": (threading.Lock, "lock at $"),
    "a generator": (lambda: (n for n in (1, 2)), "generator at $"),
    "a circle": (circle, "contains itself"),
    "not a number": (lambda: {"x": float("nan")}, "a NaN or an infinity at $['x']"),
    "too much": (lambda: "x" * (4 * 1024 * 1024), "more than the limit of 4194304"),
    "a surrogate": (lambda: "\ud800", "a text at $ that is no Unicode"),
}


async def run(client: Client, folder: Path, **settings: Any) -> Result:
    """The client's one function, run once in process."""
    async with platform(folder, client, **settings) as running:
        return await finish(running, await running.send("go", {}))


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize("name", UNWRITABLE)
async def test_a_step_that_returns_something_unserialisable(name: str, sync: bool, tmp_path: Path) -> None:
    make, message = UNWRITABLE[name]
    client, runs = Client("bad"), []

    def body() -> Any:
        runs.append(1)
        return make()

    if sync:

        @client.create_function(fn_id="f", trigger=GO, retries=3)
        def plain(ctx: ContextSync) -> None:
            ctx.step.run("load", body)

    else:

        @client.create_function(fn_id="f", trigger=GO, retries=3)
        async def native(ctx: Context) -> None:
            await ctx.step.run("load", body)

    result = await run(client, tmp_path)
    assert result.status == "failed"
    assert "step 'load' returned" in result.output["message"]
    assert message in result.output["message"]
    assert any(way in result.output["message"] for way in ("return JSON data", "return a reference"))
    assert runs == [1], "trying again would give the same"


@pytest.mark.parametrize("name", ["an object", "a circle", "too much"])
async def test_a_function_that_returns_something_unserialisable(name: str, tmp_path: Path) -> None:
    make, message = UNWRITABLE[name]
    client, runs = Client("bad"), []

    @client.create_function(fn_id="f", trigger=GO, retries=3)
    async def native(ctx: Context) -> Any:
        runs.append(1)
        return make()

    result = await run(client, tmp_path)
    assert result.status == "failed"
    assert "function 'bad-f' returned" in result.output["message"]
    assert message in result.output["message"]
    assert runs == [1]


async def test_a_duplicate_step_id_in_one_gather(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = Client("twins")

    @client.create_function(fn_id="f", trigger=GO)
    async def native(ctx: Context) -> list[int]:
        async def step(n: int) -> int:
            return n

        return list(await asyncio.gather(*(ctx.step.run("same", step, n) for n in range(5))))

    with caplog.at_level(logging.WARNING, "stepwell"):
        result = await run(client, tmp_path)
    assert (result.status, result.output) == ("completed", [0, 1, 2, 3, 4])
    (warning,) = [each.getMessage() for each in caplog.records if "is used again" in each.getMessage()]
    assert "'same'" in warning
    assert "Give parallel steps ids of their own" in warning


async def test_a_swallowed_suspension_of_a_sync_function(tmp_path: Path) -> None:
    client, runs = Client("swallow"), []

    @client.create_function(fn_id="f", trigger=GO, retries=3)
    def plain(ctx: ContextSync) -> str:
        try:
            ctx.step.sleep("nap", 1)
        except BaseException:
            runs.append(1)
        return "made up"

    result = await run(client, tmp_path)
    assert result.status == "failed"
    assert result.output["name"] == "SuspensionSwallowed"
    assert "at the step 'nap'" in result.output["message"]
    assert f"{Path(__file__).name}:" in result.output["message"]
    assert "catch Exception instead of BaseException" in result.output["message"]
    assert runs == [1]


async def test_a_loop_that_swallows_suspensions_of_a_sync_function(tmp_path: Path) -> None:
    client = Client("swallow")

    @client.create_function(fn_id="f", trigger=GO, retries=3)
    def plain(ctx: ContextSync) -> None:
        while True:
            try:
                ctx.step.sleep("nap", 1)
            except BaseException:
                pass
            else:
                return

    result = await run(client, tmp_path)
    assert result.status == "failed"
    assert result.output["name"] == "SuspensionSwallowed"


async def test_except_base_exception_in_an_async_function_loses_nothing(tmp_path: Path) -> None:
    """Its steps suspend without raising, so that there is nothing to swallow; a cancelled run is given up all the same."""
    client, caught = Client("swallow"), []

    @client.create_function(fn_id="f", trigger=GO)
    async def native(ctx: Context) -> list[int]:
        found = []
        for n in range(3):
            try:
                await ctx.step.sleep(f"nap-{n}", 1)
                found.append(n)
            except BaseException as error:
                caught.append(error)
        return found

    result = await run(client, tmp_path)
    assert (result.status, result.output) == ("completed", [0, 1, 2])
    assert caught == []


async def test_a_cancelled_run_whose_code_swallows_the_cancellation(tmp_path: Path) -> None:
    client = Client("swallow")
    stopped = asyncio.Event()

    @client.create_function(fn_id="f", trigger=GO)
    async def native(ctx: Context) -> None:
        with contextlib.suppress(BaseException):
            await ctx.step.sleep("night", "8h")
        try:
            await ctx.step.run("after", lambda: 1)
        finally:
            stopped.set()

    async with platform(tmp_path, client) as running:
        event_id = await running.send("go", {})
        (found,) = (await api(running, "GET", f"/v1/events/{event_id}/runs"))[2]["data"]

        async def asleep() -> bool:
            return (await api(running, "GET", f"/v1/runs/{found['run_id']}"))[2]["data"]["steps"] == 1

        await until(asleep)
        assert (await api(running, "DELETE", f"/v1/runs/{found['run_id']}"))[0] == 200
        await asyncio.wait_for(stopped.wait(), 30)
        result = await finish(running, event_id)
        assert result.status == "cancelled"
        steps = (await api(running, "GET", f"/v1/runs/{found['run_id']}/steps"))[2]["data"]
        assert [step["name"] for step in steps] == ["night"], "a step in a clean-up does not run"


@pytest.mark.parametrize("kind", ["async", "sync", "step", "async step"])
async def test_sys_exit_is_an_error_of_the_run_not_the_end_of_the_platform(kind: str, tmp_path: Path) -> None:
    client = Client("exits")

    async def leave() -> None:
        sys.exit("bye")

    if kind == "sync":

        @client.create_function(fn_id="f", trigger=GO, retries=0)
        def plain(ctx: ContextSync) -> None:
            sys.exit("bye")

    else:

        @client.create_function(fn_id="f", trigger=GO, retries=0)
        async def native(ctx: Context) -> None:
            if kind == "async":
                sys.exit("bye")
            await ctx.step.run("leave", leave if kind == "async step" else lambda: sys.exit("bye"))

    result = await run(client, tmp_path)
    assert result.status == "failed"
    assert result.output["name"] == "SystemExit"
    assert "sys.exit('bye')" in result.output["message"]
    assert "raise an exception" in result.output["message"]


@pytest.mark.parametrize("kind", ["function", "step", "async step"])
async def test_code_that_blocks_the_loop_costs_the_engine_nothing(kind: str, tmp_path: Path) -> None:
    """While user code sleeps on its own loop, the API answers (asked from a thread, as that loop is blocked)."""
    client, asked, began = Client("blocks"), [], threading.Event()

    def ask(running: Any) -> None:
        began.wait(10)

        async def health() -> int:
            start = time.monotonic()
            assert (await api(running, "GET", "/health"))[0] == 200
            assert time.monotonic() - start < 0.5
            return 1

        while len(asked) < 5:
            asked.append(asyncio.run(health()))

    def block() -> str:
        began.set()
        end = time.monotonic() + 10
        while len(asked) < 5 and time.monotonic() < end:
            time.sleep(0.01)
        return f"asked {len(asked)} times"

    async def block_async() -> str:
        return block()

    @client.create_function(fn_id="f", trigger=GO)
    async def native(ctx: Context) -> str:
        if kind == "function":
            return block()
        return await ctx.step.run("block", block_async if kind == "async step" else block)

    async with platform(tmp_path, client) as running:
        thread = threading.Thread(target=ask, args=(running,))
        thread.start()
        result = await finish(running, await running.send("go", {}))
        thread.join(10)
        assert (result.status, result.output) == ("completed", "asked 5 times")


@pytest.mark.parametrize("kind", ["function", "step", "sync step"])
async def test_user_code_that_never_ends_is_given_up_after_the_call_timeout(kind: str, tmp_path: Path) -> None:
    client = Client("endless")
    over = threading.Event()

    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    def wait_sync() -> None:
        over.wait(30)

    @client.create_function(fn_id="f", trigger=GO, retries=0)
    async def native(ctx: Context) -> None:
        if kind == "function":
            await asyncio.to_thread(wait_sync)
        await ctx.step.run("wait", wait_sync if kind == "sync step" else wait)

    try:
        result = await run(client, tmp_path, call_timeout_s=0.3)
    finally:
        over.set()
    assert result.status == "failed"
    assert "no answer within 0.3 s" in result.output["message"]
    assert "STEPWELL_CALL_TIMEOUT" in result.output["message"]


async def test_a_function_that_waits_for_what_nobody_sets_says_so(tmp_path: Path) -> None:
    """An event that nothing sets: stuck, not suspended."""
    client = Client("stuck")

    @client.create_function(fn_id="f", trigger=GO, retries=0)
    async def native(ctx: Context) -> None:
        await asyncio.Event().wait()

    result = await run(client, tmp_path, call_timeout_s=0.5)
    assert result.status == "failed"
    assert "no answer within 0.5 s" in result.output["message"]
