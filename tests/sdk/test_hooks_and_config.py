"""The loop's hooks, loops that end under kept runs, settings from the environment, a light import."""

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from stepwell import Client, ConfigError, TriggerEvent
from stepwell.sdk.config import read_config
from stepwell.sdk.drivers import hooks
from stepwell.wire.ids import step_hash
from tests.sdk.fake_engine import Engine
from tests.sdk.play import LOOPS, on_loop


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_a_task_factory_that_is_there_already_stays_in_charge(loop: str) -> None:
    made: list[str] = []

    async def main() -> Any:
        running = asyncio.get_running_loop()

        def factory(loop: Any, coro: Any, **kwargs: Any) -> Any:
            made.append(coro.__qualname__)
            return asyncio.Task(coro, loop=loop, **kwargs)

        async def child(ctx: Any) -> int:
            return await ctx.step.run("a", plain)

        async def plain() -> int:
            return 1

        async def f(ctx: Any) -> Any:
            return await asyncio.create_task(child(ctx), name="named")

        running.set_task_factory(factory)
        hooks.install(running)
        hooks.install(running)
        return await Engine(f).run()

    assert on_loop(main, loop) == 1
    assert any("child" in name for name in made)


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_tasks_and_timers_outside_of_runs_are_untouched(loop: str) -> None:
    async def main() -> None:
        hooks.install(asyncio.get_running_loop())
        handle = asyncio.get_running_loop().call_later(60, print)
        assert isinstance(handle, asyncio.TimerHandle) or type(handle).__module__.startswith("uvloop")
        handle.cancel()
        async with asyncio.timeout(1):
            await asyncio.wait_for(asyncio.sleep(0.001), 1)

    on_loop(main, loop)


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_a_loop_that_ends_under_a_kept_run_does_not_hang(loop: str) -> None:
    cleaned: list[str] = []

    async def f(ctx: Any) -> Any:
        try:
            await ctx.step.sleep("a", "3600s")
        finally:
            cleaned.append("began")
            await ctx.step.sleep("b", "3600s")
            cleaned.append("never")

    async def main() -> None:
        await Engine(f).call()

    on_loop(main, loop)
    assert cleaned == ["began"]


async def test_cancelling_a_call_gives_the_execution_up() -> None:
    async def f(ctx: Any) -> Any:
        await asyncio.Event().wait()

    engine = Engine(f)
    task = asyncio.create_task(engine.executor.execute(engine.request()))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.executor.kept == 0
    await engine.executor.close()


async def test_cancelling_a_targeted_call_stops_the_step() -> None:
    stopped = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    async def f(ctx: Any) -> Any:
        await asyncio.gather(ctx.step.run("a", slow), ctx.step.sleep("b", "60s"))

    engine = Engine(f)
    await engine.call()
    task = asyncio.create_task(engine.executor.execute(engine.request(step_hash("a"))))
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait([task])
    assert stopped.is_set()
    assert engine.executor.kept == 1
    await engine.executor.close()


def test_settings() -> None:
    assert read_config({}).dev
    assert read_config({}).api_url == "http://127.0.0.1:8288"
    assert not read_config({"STEPWELL_SIGNING_KEY": "k"}).dev
    assert read_config({"STEPWELL_SIGNING_KEY": "k", "INNGEST_DEV": "1"}).dev
    assert not read_config({"STEPWELL_DEV": "0"}).dev
    assert read_config({"INNGEST_DEV": "http://h:1/"}).event_url == "http://h:1"
    both = read_config(
        {"STEPWELL_BASE_URL": "http://a", "INNGEST_BASE_URL": "http://b", "INNGEST_EVENT_API_BASE_URL": "http://c"}
    )
    assert (both.api_url, both.event_url) == ("http://a", "http://c")
    assert read_config({"INNGEST_EVENT_KEY": "e"}, event_key="mine").event_key == "mine"
    for bad in ({"STEPWELL_DEV": "maybe"}, {"STEPWELL_BASE_URL": "nonsense"}):
        with pytest.raises(ConfigError):
            read_config(bad)


def test_declarations_that_can_not_work() -> None:
    client = Client("app")

    @client.create_function(fn_id="f", trigger=TriggerEvent("go"))
    async def f(ctx: Any) -> None: ...

    assert [each.id for each in client.functions] == ["app-f"]
    assert f.config("")["id"] == "app-f"
    with pytest.raises(ConfigError, match="two functions 'f'"):
        client.create_function(fn_id="f", trigger=TriggerEvent("go"))(f.handler)
    with pytest.raises(ConfigError, match="retries=21"):
        client.create_function(fn_id="g", trigger=TriggerEvent("go"), retries=21)(f.handler)
    with pytest.raises(ConfigError, match="app_id"):
        Client("")


def test_the_import_is_light() -> None:
    code = "import stepwell, sys; print([m for m in ('httpx2', 'pydantic', 'stepwell.server', 'aiohttp') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"
    )
