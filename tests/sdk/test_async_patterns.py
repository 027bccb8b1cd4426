"""Native asyncio around steps: every pattern takes the same path kept or replayed, on asyncio and uvloop."""

import asyncio
import contextvars
from typing import Any

import pytest

from stepwell import NonRetriableError, StepError
from tests.sdk.fake_engine import last
from tests.sdk.play import play, result

ORDERS = pytest.mark.parametrize("choose", [lambda names: 0, last, lambda names: len(names) // 2])


async def value(x: Any) -> Any:
    return x


async def boom() -> None:
    raise NonRetriableError("boom")


def test_sequential() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        total = 0
        for i in range(5):
            total += await ctx.step.run("add", value, i)
            log.append(total)
        return total

    assert play(f) == ("10", [0, 1, 3, 6, 10])


def test_what_the_code_leaves_behind_before_a_step_comes_before_its_result() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        loop = asyncio.get_running_loop()
        later: list[asyncio.Task[Any]] = []

        async def rows() -> Any:
            try:
                yield 1
                yield 2
            finally:
                log.append("closed")

        async def more() -> Any:
            log.append("more")
            return await ctx.step.run("again", value, "more")

        await ctx.step.run("a", value, 1)
        async for _ in rows():
            break
        await ctx.step.run("b", value, 1)
        log.append("b")
        loop.call_soon(lambda: later.append(loop.create_task(more())))
        await ctx.step.run("c", value, 1)
        return await ctx.step.run("again", value, "main"), await later[0]

    assert play(f) == ("['main', 'more']", ["closed", "b", "more"])


@ORDERS
def test_gather(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async def branch(i: int) -> int:
            a = await ctx.step.run(f"a{i}", value, i)
            log.append(("a", i))
            b = await ctx.step.run(f"b{i}", value, i * 10)
            log.append(("b", i))
            return a + b

        return await asyncio.gather(*(branch(i) for i in range(4)))

    assert result(f, choose=choose) == "[0, 11, 22, 33]"


@ORDERS
def test_task_group(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ctx.step.run(f"s{i}", value, i)) for i in range(4)]
        log.append("joined")
        return [task.result() for task in tasks]

    assert play(f, choose=choose) == ("[0, 1, 2, 3]", ["joined"])


@ORDERS
def test_first_completed(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        tasks = {asyncio.create_task(ctx.step.run(f"s{i}", value, i), name=str(i)) for i in range(4)}
        while tasks:
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            log.append(sorted(task.result() for task in done))
            await ctx.step.run("after", value, None)
        return log

    play(f, choose=choose)


@ORDERS
def test_as_completed(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        for future in asyncio.as_completed([ctx.step.run(f"s{i}", value, i) for i in range(5)]):
            log.append(await future)  # noqa: PERF401 - the log shows what happened before an error
        return log

    got, log = play(f, choose=choose)
    assert sorted(log) == [0, 1, 2, 3, 4]
    assert got == repr(log)


@ORDERS
def test_semaphore(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        limit = asyncio.Semaphore(2)
        running = 0

        async def one(i: int) -> int:
            nonlocal running
            async with limit:
                running += 1
                log.append(running)
                got = await ctx.step.run(f"s{i}", value, i)
                running -= 1
                return got

        return await asyncio.gather(*(one(i) for i in range(6)))

    got, log = play(f, choose=choose)
    assert got == "[0, 1, 2, 3, 4, 5]"
    assert max(log) == 2


@ORDERS
def test_queue_workers(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        queue: asyncio.Queue[int] = asyncio.Queue()
        for i in range(5):
            queue.put_nowait(i)

        async def worker() -> None:
            while True:
                item = await queue.get()
                log.append(await ctx.step.run(f"s{item}", value, item))
                queue.task_done()

        workers = [asyncio.create_task(worker()) for _ in range(2)]
        await queue.join()
        for each in workers:
            each.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return sorted(log)

    assert result(f, choose=choose) == "[0, 1, 2, 3, 4]"


def test_producer_consumer() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        queue: asyncio.Queue[int | None] = asyncio.Queue(maxsize=1)

        async def produce() -> None:
            for i in range(4):
                await queue.put(await ctx.step.run(f"make{i}", value, i))
            await queue.put(None)

        async def consume() -> int:
            total = 0
            while (item := await queue.get()) is not None:
                total += await ctx.step.run(f"use{item}", value, item)
                log.append(item)
            return total

        return (await asyncio.gather(produce(), consume()))[1]

    assert play(f) == ("6", [0, 1, 2, 3])


def test_shield() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        task = asyncio.create_task(ctx.step.run("a", value, 1))
        return await asyncio.shield(task) + await ctx.step.run("b", value, 1)

    assert result(f) == "2"


@ORDERS
def test_nested_groups_with_failure(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async def inner() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.step.run("bad", boom))
                group.create_task(ctx.step.sleep("long", "1h"))

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(inner())
                group.create_task(ctx.step.run("good", value, 1))
        except* StepError as group:
            log.append([type(each).__name__ for each in group.exceptions])
        return await ctx.step.run("after", value, "ok")

    got, log = play(f, choose=choose)
    assert got == "'ok'"
    assert log == [["ExceptionGroup"]]


def test_cancelling_a_task_abandons_its_step() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        slow = asyncio.create_task(ctx.step.run("slow", value, 1))
        await ctx.step.sleep("nap", 5)
        await asyncio.sleep(0)
        slow.cancel()
        log.append(isinstance((await asyncio.gather(slow, return_exceptions=True))[0], asyncio.CancelledError))
        return await ctx.step.run("after", value, "ok")

    assert play(f, choose=last)[0] == "'ok'"


def test_a_cancelled_step_that_ended_meanwhile_is_ignored() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        slow = asyncio.create_task(ctx.step.run("slow", value, 1))
        fast = asyncio.create_task(ctx.step.run("fast", value, 2))
        await asyncio.wait([slow, fast], return_when=asyncio.FIRST_COMPLETED)
        (slow if not slow.done() else fast).cancel()
        await asyncio.gather(slow, fast, return_exceptions=True)
        log.append((slow.cancelled(), fast.cancelled()))
        return [await ctx.step.run(f"then{i}", value, i) for i in range(3)]

    assert play(f, choose=last) == ("[0, 1, 2]", [(True, False)])


def test_base_exception_around_steps() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        for i in range(3):
            try:
                log.append(await ctx.step.run(f"s{i}", value, i))
            except BaseException as error:
                log.append(type(error).__name__)
                raise
        return log

    assert result(f) == "[0, 1, 2]"


def test_finally_with_await() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        try:
            await ctx.step.run("bad", boom)
        except StepError as error:
            log.append((error.name, error.message))
        finally:
            await ctx.step.run("clean", value, None)
            log.append("cleaned")
        return "done"

    assert play(f) == ("'done'", [("NonRetriableError", "boom"), "cleaned"])


def test_async_generator() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async def numbers() -> Any:
            for i in range(3):
                yield await ctx.step.run(f"s{i}", value, i)

        async for number in numbers():
            log.append(number)  # noqa: PERF401 - the log shows what happened before an error
        return log

    assert result(f) == "[0, 1, 2]"


def test_context_variables_reach_the_step_and_stay_in_the_function() -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")

    async def f(ctx: Any, log: list[Any]) -> Any:
        user.set("ann")

        async def who() -> str:
            seen = user.get()
            user.set("changed in the step")
            return seen

        got = await ctx.step.run("who", who)
        return [got, user.get()]

    assert result(f) == "['ann', 'ann']"


def test_threads_between_steps() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        loop = asyncio.get_running_loop()

        async def branch(i: int) -> int:
            got = await loop.run_in_executor(None, lambda: i + 1)
            got += await asyncio.to_thread(lambda: 100)
            return await ctx.step.run(f"s{i}", value, got)

        return await asyncio.gather(branch(1), branch(2))

    assert result(f) == "[102, 103]"


def test_short_sleeps_are_waited_for() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async def late() -> int:
            await asyncio.sleep(0.03)
            return await ctx.step.run("late", value, 2)

        return await asyncio.gather(ctx.step.run("soon", value, 1), late())

    assert result(f) == "[1, 2]"


def test_heartbeat_does_not_hold_the_run_up() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async def beat() -> None:
            while True:
                await asyncio.sleep(0.005)

        heart = asyncio.create_task(beat())
        got = [await ctx.step.run(f"s{i}", value, i) for i in range(3)]
        heart.cancel()
        return got

    assert result(f) == "[0, 1, 2]"


def test_events_between_tasks() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        ready = asyncio.Event()

        async def waits() -> int:
            await ready.wait()
            return await ctx.step.run("b", value, 2)

        task = asyncio.create_task(waits())
        one = await ctx.step.run("a", value, 1)
        ready.set()
        return one + await task

    assert result(f) == "3"


def test_group_parallel() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        return await ctx.group.parallel([lambda: ctx.step.run("a", value, 1), lambda: ctx.step.run("b", value, 2)])

    assert result(f) == "[1, 2]"


def test_step_as_second_argument() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async def with_step(ctx: Any, step: Any) -> Any:
            return await step.run("a", value, ctx.event.data["n"])

        return await with_step(ctx, ctx.step)

    assert result(f, data={"n": 7}) == "7"


def test_fetch_in_parallel() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        pages = await asyncio.gather(*(ctx.step.fetch(f"http://x.test/{i}") for i in range(5)))
        return [page.text for page in pages]

    assert result(f, choose=last) == repr([f"http://x.test/{i}" for i in range(5)])
