"""Timers around steps become durable and recorded; a replay takes the same path."""

import asyncio
from typing import Any

import anyio

from tests.sdk.fake_engine import Engine
from tests.sdk.play import on_loop, play, result


async def value(x: Any) -> Any:
    return x


def test_timeout_that_does_not_fire() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async with asyncio.timeout(30):
            return await ctx.step.run("a", value, 1)

    assert result(f) == "1"


def test_timeout_that_fires() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        try:
            async with asyncio.timeout(30):
                await ctx.step.sleep("long", "1h")
        except TimeoutError:
            log.append("timeout")
        return await ctx.step.run("after", value, "ok")

    assert play(f) == ("'ok'", ["timeout"])


def test_short_timeouts_are_durable_too() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        try:
            async with asyncio.timeout(0.05):
                await ctx.step.sleep("long", "1h")
        except TimeoutError:
            return "timeout"

    assert result(f) == "'timeout'"


def test_wait_for() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        log.append(await asyncio.wait_for(ctx.step.run("a", value, 1), 10))
        try:
            await asyncio.wait_for(ctx.step.sleep("long", "60s"), 10)
        except TimeoutError:
            log.append("timeout")
        return await ctx.step.run("b", value, 2)

    assert play(f) == ("2", [1, "timeout"])


def test_wait_with_timeout() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        tasks = [asyncio.create_task(ctx.step.sleep(f"s{i}", f"{i * 10 + 5}s")) for i in range(3)]
        done, pending = await asyncio.wait(tasks, timeout=12)
        log.append((len(done), len(pending)))
        await asyncio.gather(*pending)
        return "ok"

    assert play(f) == ("'ok'", [(1, 2)])


def test_as_completed_with_timeout() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        try:
            for each in asyncio.as_completed([ctx.step.sleep("a", "5s"), ctx.step.sleep("b", "50s")], timeout=20):
                await each
                log.append("one")
        except TimeoutError:
            log.append("timeout")
        return await ctx.step.run("after", value, "ok")

    assert play(f) == ("'ok'", ["one", "timeout"])


def test_sleep_races_a_step() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        long = asyncio.create_task(ctx.step.sleep("durable", "60s"))
        short = asyncio.create_task(asyncio.sleep(10, "slept"))
        done, _ = await asyncio.wait([long, short], return_when=asyncio.FIRST_COMPLETED)
        log.append(short in done)
        long.cancel()
        return done.pop().result()

    assert play(f) == ("'slept'", [True])


def test_long_sleep_alone_is_one_durable_step() -> None:
    async def f(ctx: Any) -> Any:
        await asyncio.sleep(3600)
        return "rested"

    async def main() -> Any:
        engine = Engine(f)
        return await engine.run(), [(op.op, op.name, op.display_name) for op in engine.answers[0].ops]

    assert on_loop(main) == ("rested", [("Sleep", "1h", "asyncio.sleep")])


def test_anyio_fail_after_and_task_group() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async with anyio.create_task_group() as group:
            group.start_soon(ctx.step.run, "a", value, 1)
            group.start_soon(ctx.step.run, "b", value, 2)
        try:
            with anyio.fail_after(30):
                await ctx.step.sleep("long", "1h")
        except TimeoutError:
            log.append("timeout")
        with anyio.move_on_after(60) as scope:
            await ctx.step.run("c", value, 3)
        log.append(scope.cancelled_caught)
        return "ok"

    assert play(f) == ("'ok'", ["timeout", False])


def test_nested_timeouts() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        try:
            async with asyncio.timeout(100):
                try:
                    async with asyncio.timeout(10):
                        await ctx.step.sleep("long", "1h")
                except TimeoutError:
                    log.append("inner")
                await ctx.step.sleep("longer", "2h")
        except TimeoutError:
            log.append("outer")
        return "ok"

    assert play(f) == ("'ok'", ["inner", "outer"])


def test_timeout_around_real_waiting_is_plain() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        try:
            async with asyncio.timeout(0.02):
                await asyncio.to_thread(__import__("time").sleep, 0.2)
        except TimeoutError:
            log.append("timeout")
        return await ctx.step.run("a", value, 1)

    assert play(f) == ("1", ["timeout"])


def test_timeout_inside_a_step_is_plain() -> None:
    async def slow() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(5)
        except TimeoutError:
            return "timeout"
        return "never"

    async def f(ctx: Any) -> Any:
        return await ctx.step.run("slow", slow)

    async def main() -> Any:
        engine = Engine(f)
        return await engine.run(), [len(answer.ops) for answer in engine.answers]

    assert on_loop(main) == ("timeout", [1, 0])


def test_own_timers_of_the_function() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        loop = asyncio.get_running_loop()
        loop.call_later(20, log.append, "early")
        handle = loop.call_later(10, log.append, "cancelled")
        loop.call_later(10, lambda: log.append("called"))
        handle.cancel()
        await ctx.step.sleep("long", "60s")
        return log

    assert play(f)[0] == "['called']"
