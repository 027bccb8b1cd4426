"""The code changes under a running function, or goes away and comes back: nothing recorded is lost, nothing hangs."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from stepwell import Client, Context, ContextSync, TriggerEvent
from stepwell.server.host import bind
from tests.e2e.ugly import Call, Endpoint, api, bare, finish, ops, platform, returned, sdk_app, step_run, sync, until

GO = TriggerEvent("go")
Code = Callable[[Context], Awaitable[Any]]


def app(code: Callable[..., Any] | None, *, retries: int = 2, fn_id: str = "f") -> Client:
    """An app whose one function is ``code``; None: an app with another function."""
    client = Client("changing")
    if code is not None:
        client.create_function(fn_id=fn_id, trigger=GO, retries=retries)(code)
    return client


async def steps_of(running: Any, run_id: str) -> dict[str, str]:
    """Status by name."""
    found = (await api(running, "GET", f"/v1/runs/{run_id}/steps"))[2]["data"]
    return {step["name"]: step["status"] for step in found}


async def interrupted(
    folder: Path, before: Callable[..., Any], after: Callable[..., Any], at: str = "nap", retries: int = 2
) -> tuple[Any, dict[str, str]]:
    """Run ``before`` until the step ``at`` is under way; restart the app with ``after``; the result and the steps."""
    port_holder = bind("127.0.0.1", 0)
    port = port_holder.getsockname()[1]
    port_holder.close()
    async with platform(folder) as running:
        async with sdk_app(app(before, retries=retries), port) as url:
            await sync(running, app(before, retries=retries), url)
            event_id = await running.send("go", {})
            (run,) = (await api(running, "GET", f"/v1/events/{event_id}/runs"))[2]["data"]

            async def there() -> bool:
                return at in await steps_of(running, run["run_id"])

            await until(there)
        async with sdk_app(app(after, retries=retries), port) as url:
            await sync(running, app(after, retries=retries), url)
            result = await finish(running, event_id)
            return result, await steps_of(running, result.run_id)


async def original(ctx: Context) -> list[Any]:
    first = await ctx.step.run("first", lambda: "one")
    await ctx.step.sleep("nap", "400ms")
    return [first, await ctx.step.run("last", lambda: "old")]


async def test_the_same_code_restarted_goes_on(tmp_path: Path) -> None:
    result, steps = await interrupted(tmp_path, original, original)
    assert result.output == ["one", "old"]
    assert list(steps) == ["first", "nap", "last"]


async def test_a_step_renamed(tmp_path: Path) -> None:
    """The old record stays, the step of the new name runs."""

    async def renamed(ctx: Context) -> list[Any]:
        first = await ctx.step.run("first-v2", lambda: "two")
        await ctx.step.sleep("nap", "400ms")
        return [first, await ctx.step.run("last", lambda: "new")]

    result, steps = await interrupted(tmp_path, original, renamed)
    assert (result.status, result.output) == ("completed", ["two", "new"])
    assert list(steps) == ["first", "nap", "first-v2", "last"]


async def test_a_step_removed(tmp_path: Path) -> None:
    async def removed(ctx: Context) -> list[Any]:
        await ctx.step.sleep("nap", "400ms")
        return [await ctx.step.run("last", lambda: "new")]

    result, _ = await interrupted(tmp_path, original, removed)
    assert (result.status, result.output) == ("completed", ["new"])


async def test_everything_removed(tmp_path: Path) -> None:
    async def nothing(ctx: Context) -> str:
        return "nothing left to do"

    result, _ = await interrupted(tmp_path, original, nothing)
    assert (result.status, result.output) == ("completed", "nothing left to do")


async def test_steps_reordered(tmp_path: Path) -> None:
    async def reordered(ctx: Context) -> list[Any]:
        last = await ctx.step.run("last", lambda: "new")
        await ctx.step.sleep("nap", "400ms")
        return [await ctx.step.run("first", lambda: "never run again"), last]

    result, steps = await interrupted(tmp_path, original, reordered)
    assert (result.status, result.output) == ("completed", ["one", "new"])
    assert set(steps.values()) == {"Completed"}


async def test_an_async_function_became_a_sync_one(tmp_path: Path) -> None:
    def plain(ctx: ContextSync) -> list[Any]:
        first = ctx.step.run("first", lambda: "never run again")
        ctx.step.sleep("nap", "400ms")
        return [first, ctx.step.run("last", lambda: "sync")]

    result, _ = await interrupted(tmp_path, original, plain)
    assert (result.status, result.output) == ("completed", ["one", "sync"])


async def test_a_planned_step_that_is_gone_when_it_is_called(tmp_path: Path) -> None:
    """The platform asks for a step of a gather that the new code does not have: the run fails and says why."""
    gone = asyncio.Event()

    async def fails() -> None:
        raise RuntimeError("not yet")

    async def parallel(ctx: Context) -> list[Any]:
        other = ctx.step.sleep("nap", "1h")
        return list(await asyncio.gather(ctx.step.run("left", fails), other))

    async def changed(ctx: Context) -> list[Any]:
        gone.set()
        return list(await asyncio.gather(ctx.step.run("renamed", lambda: 1), ctx.step.sleep("nap", "1h")))

    result, _ = await interrupted(tmp_path, parallel, changed, "left", retries=20)
    assert gone.is_set()
    assert result.status == "failed"
    assert result.output["name"] == "StepNotFound"
    assert "its code may have changed since the run began" in result.output["message"]
    assert "renamed" in result.output["message"]


async def test_a_bare_app_that_answers_a_targeted_call_with_something_else(tmp_path: Path) -> None:
    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        if call["ctx"]["step_id"] != "step":
            return ops(step_run("something-else"))
        return ops({"op": "StepPlanned", "id": "a"}, {"op": "StepPlanned", "id": "b"})

    async with bare(tmp_path, answer, retries=1) as rig:
        result = await rig.run()
        assert result.status == "failed"
        assert result.output["name"] == "StepNotFound"
        assert "asked to run the step" in result.output["message"]


@pytest.mark.parametrize("how", ["app has another function", "removed by a sync"])
async def test_a_function_that_is_gone(how: str, tmp_path: Path) -> None:
    """Its runs in flight fail with the app's own words; other functions go on."""
    napping, other = app(original, retries=1), app(original, fn_id="other")
    async with platform(tmp_path) as running, sdk_app(napping) as url, sdk_app(other) as url_2:
        await sync(running, napping, url)
        event_id = await running.send("go", {})
        (run,) = (await api(running, "GET", f"/v1/events/{event_id}/runs"))[2]["data"]

        async def asleep() -> bool:
            return "nap" in await steps_of(running, run["run_id"])

        await until(asleep)
        if how == "removed by a sync":
            await sync(running, other, url_2)
        else:
            await running.sync("changing", url_2, [function.config(url_2) for function in napping.functions])
        result = await finish(running, event_id)
        assert result.status == "failed"
        assert "no function 'changing-f'" in result.output["message"]
        assert "it has: changing-other" in result.output["message"]
        assert "renamed or not deployed" in result.output["message"]
        if how == "removed by a sync":
            assert (await finish(running, await running.send("go", {}))).output == ["one", "old"]


async def test_a_function_that_was_left_out_by_mistake_and_comes_back_goes_on(tmp_path: Path) -> None:
    """Meanwhile its run has used up attempts, and nothing else."""
    napping, other = app(original, retries=20), app(original, fn_id="other")
    async with (
        platform(tmp_path, retry_interval_ms=300) as running,
        sdk_app(napping) as url,
        sdk_app(other) as url_2,
    ):
        await sync(running, napping, url)
        event_id = await running.send("go", {})
        (run,) = (await api(running, "GET", f"/v1/events/{event_id}/runs"))[2]["data"]

        async def asleep() -> bool:
            return "nap" in await steps_of(running, run["run_id"])

        async def refused() -> bool:
            jobs = (await api(running, "GET", f"/v1/runs/{run['run_id']}/jobs"))[2]["data"]
            return any(job["attempt"] > 0 for job in jobs)

        await until(asleep)
        await sync(running, other, url_2)
        await until(refused)
        await sync(running, napping, url)
        assert (await finish(running, event_id)).output == ["one", "old"]


async def test_in_process_code_changes_between_two_programs(tmp_path: Path) -> None:
    """The platform stops with a run asleep; the program comes back with other code on the same file."""
    async with platform(tmp_path, app(original)) as running:
        event_id = await running.send("go", {})
        (run,) = (await api(running, "GET", f"/v1/events/{event_id}/runs"))[2]["data"]

        async def asleep() -> bool:
            return "nap" in await steps_of(running, run["run_id"])

        await until(asleep)

    async def renamed(ctx: Context) -> list[Any]:
        first = await ctx.step.run("first", lambda: "never run again")
        return [first, await ctx.step.run("fresh", lambda: "new")]

    async with platform(tmp_path, app(renamed)) as running:
        assert (await finish(running, event_id)).output == ["one", "new"]


async def test_in_process_function_gone_in_the_next_program(tmp_path: Path) -> None:
    async with platform(tmp_path, app(original, retries=0)) as running:
        event_id = await running.send("go", {})
        (run,) = (await api(running, "GET", f"/v1/events/{event_id}/runs"))[2]["data"]

        async def asleep() -> bool:
            return "nap" in await steps_of(running, run["run_id"])

        await until(asleep)
    async with platform(tmp_path, app(original, fn_id="other")) as running:
        result = await finish(running, event_id)
        assert result.status == "failed"
        assert "no function 'changing-f'" in result.output["message"]


async def test_an_app_that_is_not_connected_waits_and_goes_on(tmp_path: Path) -> None:
    """Its program is away: the run says what it waits for, uses up no attempts, and goes on when it is back."""
    async with platform(tmp_path, app(original, retries=0)) as running:
        event_id = await running.send("go", {})
        (run,) = (await api(running, "GET", f"/v1/events/{event_id}/runs"))[2]["data"]

        async def asleep() -> bool:
            return "nap" in await steps_of(running, run["run_id"])

        await until(asleep)
    async with platform(tmp_path) as running:

        async def held() -> bool:
            said = (await api(running, "GET", f"/v1/runs/{run['run_id']}"))[2]["data"]
            return "is not connected: start it" in said.get("last_error", "")

        await until(held)
    async with platform(tmp_path, app(original, retries=0)) as running:
        assert (await finish(running, event_id)).output == ["one", "old"]


async def test_an_app_that_goes_away_and_comes_back_is_synced_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As ``stepwell dev -u``: found, lost with a word about it, found again with its new code."""
    holder = bind("127.0.0.1", 0)
    port = holder.getsockname()[1]
    holder.close()

    async def newer(ctx: Context) -> str:
        return await ctx.step.run("first", lambda: "newer code")

    url = f"http://127.0.0.1:{port}/api/stepwell"
    with caplog.at_level(logging.INFO, "stepwell.discovery"):
        async with platform(tmp_path, app_urls=(url,), discovery=True) as running:

            async def synced() -> bool:
                return bool((await api(running, "GET", "/dev"))[2]["functions"])

            def heard(words: str) -> bool:
                return any(words in record.getMessage() for record in caplog.records)

            await until(lambda: heard("is the app running?"))
            async with sdk_app(app(original), port):
                await until(synced)
                assert (await finish(running, await running.send("go", {}))).output == ["one", "old"]
                caplog.clear()
            event_id = await running.send("go", {})
            await until(lambda: heard("is tried again until that changes"))
            async with sdk_app(app(newer, fn_id="newer"), port):

                async def resynced() -> bool:
                    found = (await api(running, "GET", "/dev"))[2]["functions"]
                    return [function["id"] for function in found] == ["changing-newer"]

                await until(resynced)
                assert (await finish(running, await running.send("go", {}))).output == "newer code"
            result = await finish(running, event_id)
            assert result.status == "failed"
            assert result.output["message"]


async def test_a_closed_connection_between_two_calls_is_no_failure(tmp_path: Path) -> None:
    """An app that restarts drops kept-alive connections: the next call opens another one, and no attempt is lost."""

    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        done = call["ctx"]["stack"]["current"]
        if request.transport is not None:
            asyncio.get_running_loop().call_later(0.01, request.transport.close)
        return ops({"op": "Sleep", "id": f"s{done}", "name": "50ms"}) if done < 4 else returned(done)

    async with bare(tmp_path, answer, retries=0) as rig:
        result = await rig.run()
        assert (result.status, result.output) == ("completed", 4)


async def test_an_endpoint_that_moves_is_called_at_its_new_place(tmp_path: Path) -> None:
    async def first(call: Call, request: web.Request) -> web.StreamResponse:
        return ops({"op": "Sleep", "id": "nap", "name": "300ms"})

    async def second(call: Call, request: web.Request) -> web.StreamResponse:
        return returned("second")

    async with contextlib.AsyncExitStack() as stack, platform(tmp_path) as running:
        old = await stack.enter_async_context(Endpoint(first).serving())
        new = await stack.enter_async_context(Endpoint(second).serving())
        await running.sync("bare", old.url, old.functions(0))
        event_id = await running.send("go", {})
        await until(lambda: len(old.calls) == 1)
        await running.sync("bare", new.url, new.functions(0))
        assert (await finish(running, event_id)).output == "second"
