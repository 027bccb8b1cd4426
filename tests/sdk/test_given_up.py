"""Executions that are given up, or can not be gone on with: nothing of them is left behind, and their run goes on."""

import asyncio
import contextlib
from typing import Any

import anyio
import pytest

from stepwell import Middleware
from stepwell.sdk.drivers.aio import Executor
from stepwell.wire.calls import AnswerKind
from stepwell.wire.ids import step_hash
from tests.sdk.fake_engine import QUICK, Engine, serve


async def value(x: Any) -> Any:
    return x


async def test_what_another_execution_of_the_run_replaces_is_given_up_once_it_is_not_used() -> None:
    given_up: list[int] = []
    passes: list[int] = []

    async def f(ctx: Any) -> Any:
        passes.append(1)
        try:
            return await asyncio.gather(ctx.step.run("a", value, 1), ctx.step.run("b", value, 2))
        except asyncio.CancelledError:
            given_up.append(1)
            raise

    engine = Engine(f)
    await engine.call()
    engine.end(step_hash("a"), b'{"data":1}')
    under_way = asyncio.create_task(engine.call())
    await asyncio.sleep(0)
    engine.steps, engine.stack = {}, []
    engine.end(step_hash("b"), b'{"data":2}')
    calls = [asyncio.create_task(engine.call()) for _ in range(2)]
    while len(passes) < 2:
        await asyncio.sleep(0)
    await asyncio.gather(under_way, *calls, engine.call())
    assert {answer.kind for answer in engine.answers} == {AnswerKind.OPS}
    assert (len(passes), engine.executor.kept) == (3, 1)
    await engine.executor.close()
    assert len(given_up) == 3


async def test_a_replay_is_given_up_to_the_end_though_its_call_is_cancelled() -> None:
    cleaning, may_end = asyncio.Event(), asyncio.Event()
    given_up: list[str] = []

    async def left(ctx: Any) -> None:
        try:
            await ctx.step.run("left", value, 1)
        except asyncio.CancelledError:
            given_up.append("left")
            raise

    async def f(ctx: Any) -> Any:
        beside = asyncio.create_task(left(ctx))
        try:
            await ctx.step.run("a", value, 1)
        except asyncio.CancelledError:
            cleaning.set()
            await may_end.wait()
            given_up.append("f")
            raise
        return beside

    engine = Engine(f)
    engine.executor = Executor(serve(f)[0], always_replay=True, patience=QUICK, give_up_s=20)
    call = asyncio.create_task(engine.call())
    await asyncio.wait_for(cleaning.wait(), 20)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    may_end.set()
    await engine.executor.close()
    assert given_up == ["f", "left"]


@pytest.mark.parametrize("library", ["asyncio", "anyio"])
async def test_a_task_group_that_breaks_off_with_a_step_in_clean_up_ends_at_once(
    library: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(ctx: Any) -> None:
        await ctx.step.run("first", value, 1)
        raise ValueError("no")

    async def cleans_up(ctx: Any) -> None:
        try:
            await ctx.step.sleep("long", "1h")
        finally:
            with anyio.CancelScope(shield=True):
                await ctx.step.run("clean up", value, 1)

    async def f(ctx: Any) -> Any:
        with contextlib.suppress(ExceptionGroup):
            if library == "asyncio":
                async with asyncio.TaskGroup() as group:
                    group.create_task(fails(ctx))
                    group.create_task(cleans_up(ctx))
            else:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(fails, ctx)
                    tasks.start_soon(cleans_up, ctx)
        return await ctx.step.run("after", value, "ok")

    engine = Engine(f)
    engine.executor = Executor(serve(f)[0], always_replay=True, patience=QUICK, give_up_s=3600)
    assert await engine.run() == "ok"
    assert not caplog.messages


async def test_tasks_are_cancelled_though_the_functions_own_clean_up_does_not_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: list[str] = []
    may_end = asyncio.Event()

    async def left(ctx: Any) -> None:
        try:
            await ctx.step.run("left", value, 1)
        finally:
            ended.append("left")

    async def f(ctx: Any) -> Any:
        beside = asyncio.create_task(left(ctx))
        try:
            await ctx.step.run("a", value, 1)
        finally:
            await may_end.wait()
            ended.append("f")
        return beside

    engine = Engine(f)
    await engine.call()
    await engine.executor.abandon("run1")
    assert ended == ["left"]
    assert "has not ended; it is left alone" in caplog.text
    may_end.set()
    await engine.executor.close()


async def test_an_execution_that_a_hook_broke_off_is_not_gone_on_with() -> None:
    ran: list[str] = []
    failures: list[int] = []

    class Fails(Middleware):
        async def before_execution(self) -> None:
            if len(failures) < 1:
                failures.append(1)
                raise ValueError("not now")

    async def work(name: str) -> str:
        ran.append(name)
        return name

    async def f(ctx: Any) -> Any:
        one = await ctx.step.run("one", work, "one")
        return one, await asyncio.gather(ctx.step.run("a", work, "a"), ctx.step.run("b", work, "b"))

    engine = Engine(f)
    client, _ = serve(f, middleware=[Fails])
    engine.executor = Executor(client, patience=QUICK, give_up_s=0.5)
    engine.end(step_hash("one"), b'{"data":"one"}')
    broken = await engine.call(step_hash("a"))
    assert broken.kind is AnswerKind.ERROR
    assert await engine.run() == ["one", ["a", "b"]]
    assert ran == ["a", "b"]
