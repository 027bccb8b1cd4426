"""The ugly ways people write async code around steps: the same path kept or replayed, no hang, no step lost."""

import asyncio
import contextlib
import enum
import functools
import uuid
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from stepwell import NonRetriableError, StepError
from tests.sdk.fake_engine import Engine, Failed, last
from tests.sdk.play import on_loop, play, result

ORDERS = pytest.mark.parametrize("choose", [lambda names: 0, last, lambda names: len(names) // 2])


async def value(x: Any) -> Any:
    return x


async def boom() -> None:
    raise NonRetriableError("boom")


@ORDERS
def test_nested_groups_with_except_star_and_a_step_in_the_handler(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async def inner(name: str) -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(ctx.step.run(f"bad {name}", boom))
                    group.create_task(ctx.step.run(f"good {name}", value, 1))
            except* StepError as caught:
                log.append(len(caught.exceptions))
                await ctx.step.run(f"handled {name}", value, None)

        async with asyncio.TaskGroup() as group:
            group.create_task(inner("a"))
            group.create_task(inner("b"))
        return await ctx.step.run("after", value, "ok")

    assert result(f, choose=choose) == "'ok'"


def test_async_generator_closed_early_with_steps_in_its_finally() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async def numbers() -> AsyncIterator[int]:
            try:
                for i in range(5):
                    yield await ctx.step.run(f"s{i}", value, i)
            finally:
                log.append(await ctx.step.run("closed", value, "closed"))

        async with contextlib.aclosing(numbers()) as all_numbers:
            async for number in all_numbers:
                log.append(number)
                if number == 1:
                    break
        return await ctx.step.run("after", value, log)

    assert play(f) == ("[0, 1, 'closed']", [0, 1, "closed"])


def test_exit_stack_and_steps_in_aexit() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        class Saga:
            def __init__(self, name: str) -> None:
                self.name = name

            async def __aenter__(self) -> str:
                return await ctx.step.run(f"open {self.name}", value, self.name)

            async def __aexit__(self, *raised: object) -> bool:
                log.append(await ctx.step.run(f"close {self.name}", value, [self.name, raised[0] is not None]))
                return self.name == "a"

        async with contextlib.AsyncExitStack() as stack:
            for name in "abc":
                await stack.enter_async_context(Saga(name))
            await ctx.step.run("bad", boom)
        return log

    assert result(f) == "[['c', True], ['b', True], ['a', True]]"


@ORDERS
def test_anyio_task_group(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        found: dict[int, int] = {}

        async def one(i: int) -> None:
            found[i] = await ctx.step.run(f"s{i}", value, i)

        async with anyio.create_task_group() as group:
            for i in range(4):
                group.start_soon(one, i)
        return sorted(found)

    assert result(f, choose=choose) == "[0, 1, 2, 3]"


def test_anyio_move_on_after_and_fail_after() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        with anyio.move_on_after(5) as scope:
            await ctx.step.sleep("long", "1h")
        log.append(scope.cancelled_caught)
        try:
            with anyio.fail_after(5):
                await ctx.step.sleep("longer", "2h")
        except TimeoutError:
            log.append("late")
        with anyio.fail_after(3600):
            log.append(await ctx.step.run("quick", value, 1))
        return await ctx.step.run("after", value, log)

    assert result(f) == "[True, 'late', 1]"


@ORDERS
def test_anyio_cancel_scope_stops_the_losers(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async with anyio.create_task_group() as group:

            async def one(i: int) -> None:
                log.append(await ctx.step.run(f"s{i}", value, i))
                group.cancel_scope.cancel()

            for i in range(3):
                group.start_soon(one, i)
        return await ctx.step.run("after", value, "won")

    got, log = play(f, choose=choose)
    assert (got, len(log)) == ("'won'", 1)


def test_retry_decorator_around_steps() -> None:
    def retrying(handler: Any) -> Any:
        @functools.wraps(handler)
        async def again(*args: Any) -> Any:
            for attempt in range(4):
                try:
                    return await handler(*args)
                except Exception:
                    await asyncio.sleep(2**attempt)
            raise RuntimeError("gave up")

        return again

    async def f(ctx: Any, log: list[Any]) -> Any:
        @retrying
        async def flaky(i: int) -> Any:
            log.append(i)
            if len(log) < 3:
                await ctx.step.run("bad", boom)
            return await ctx.step.run("good", value, i)

        return await flaky(7)

    assert play(f) == ("7", [7, 7, 7])


def test_a_cached_step_coroutine_is_a_clear_error() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        cached = functools.lru_cache(lambda name: ctx.step.run(name, value, name))
        return [await cached("a"), await cached("a")]

    assert "awaited twice" in result(f) or "already awaited" in result(f)


def test_call_later_of_the_user_makes_steps() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        loop = asyncio.get_running_loop()
        made: list[asyncio.Task[Any]] = []
        loop.call_later(30, lambda: made.append(asyncio.create_task(ctx.step.run("late", value, 2))))
        await ctx.step.sleep("minute", "60s")
        return await made[0]

    assert result(f) == "2"


@pytest.mark.parametrize("way", ["thread", "loop in a thread"])
def test_steps_in_other_threads_are_a_clear_error(way: str) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async def inside() -> Any:
            return await ctx.step.run("a", value, 1)

        work = (lambda: ctx.step.run("a", value, 1)) if way == "thread" else (lambda: asyncio.run(inside()))
        return await asyncio.to_thread(work)

    assert "outside of its run: from a thread" in result(f)


def test_a_step_made_here_and_awaited_on_another_loop_is_a_clear_error() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        call = ctx.step.run("a", value, 1)
        try:
            await asyncio.to_thread(asyncio.run, call)
        except Exception as error:
            log.append(f"{type(error).__name__}: {error}"[:70])
        return await ctx.step.run("b", value, 2)

    got, log = play(f)
    assert got == "2"
    assert log[0].startswith("StepUsageError: step 'a' is awaited outside of the run")


def test_finally_with_steps_while_cancelled() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async def worker() -> None:
            try:
                await ctx.step.sleep("long", "1h")
            finally:
                log.append(await ctx.step.run("undo", value, "undone"))

        task = asyncio.create_task(worker())
        await ctx.step.run("first", value, 1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return await ctx.step.run("after", value, log)

    assert result(f) == "['undone']"


def test_base_exception_continue() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        for i in range(4):
            try:
                log.append(await ctx.step.run(f"s{i}", boom if i == 1 else lambda i=i: i))
            except BaseException:
                continue
        return log

    assert result(f) == "[0, 2, 3]"


@ORDERS
def test_gather_with_exceptions_and_first_exception(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        made = await asyncio.gather(
            *(ctx.step.run(f"g{i}", boom if i % 2 else lambda i=i: i) for i in range(4)), return_exceptions=True
        )
        log.append([type(each).__name__ for each in made])
        tasks = [asyncio.create_task(ctx.step.run(f"w{i}", boom if i == 1 else lambda i=i: i)) for i in range(4)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        log.append([len(done), len(pending)])
        for each in pending:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return await ctx.step.run("after", value, "ok")

    got, log = play(f, choose=choose)
    assert got == "'ok'"
    assert log[0] == ["int", "StepError", "int", "StepError"]


def test_timeouts_nested_and_rescheduled() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(100) as outer:
                outer.reschedule(loop.time() + 10)
                try:
                    async with asyncio.timeout(50):
                        await ctx.step.sleep("long", "1h")
                except TimeoutError:
                    log.append("inner")
        except TimeoutError:
            log.append("outer")
        async with asyncio.timeout(5) as third:
            third.reschedule(None)
            log.append(await ctx.step.run("no limit", value, 1))
        return await ctx.step.run("after", value, log)

    assert result(f) == "['outer', 1]"


def test_as_completed_with_a_timeout() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        calls = [ctx.step.sleep("short", "1s"), ctx.step.sleep("long", "1h"), ctx.step.run("run", value, 5)]
        try:
            for each in asyncio.as_completed(calls, timeout=20):
                log.append(await each)  # noqa: PERF401 - the log shows what happened before an error
        except TimeoutError:
            log.append("late")
        return await ctx.step.run("after", value, log)

    assert result(f) == "[5, None, 'late']"


def test_cancelled_step_task_that_is_awaited() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        task = asyncio.create_task(ctx.step.run("a", value, 1))
        await asyncio.sleep(0)
        task.cancel("no more")
        try:
            await task
        except asyncio.CancelledError:
            log.append("cancelled")
        return await ctx.step.run("b", value, 2)

    assert play(f) == ("2", ["cancelled"])


def test_two_thousand_parallel_steps() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        return len(await asyncio.gather(*(ctx.step.sleep(f"s{i}", "1s") for i in range(2000))))

    async def main() -> Any:
        async def body(ctx: Any) -> Any:
            return await f(ctx, [])

        engine = Engine(body)
        return await engine.run(), len(engine.steps)

    assert on_loop(main) == (2000, 2000)


class Own(str):
    """A text of a class of its own, as Markup of templates is, or a reference to a secret."""

    __slots__ = ()


class Kind(str, enum.Enum):  # noqa: UP042 - its str() is not its value
    """As people write them for Python 3.10."""

    CHARGE = "charge"


@pytest.mark.parametrize("step_id", ["x" * 5000, "š—🦆 \u202e", "a b/c?d#e", "a:1", "a\0b\n"])
def test_strange_ids(step_id: str) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        return [await ctx.step.run(step_id, value, i) for i in range(3)]

    assert result(f) == "[0, 1, 2]"


def test_an_id_of_a_class_of_its_own_is_its_text() -> None:
    async def f(ctx: Any) -> Any:
        return await asyncio.gather(*(ctx.step.sleep(name, "1s") for name in (Own("charge"), Kind.CHARGE, "charge")))

    async def main() -> Any:
        ops = (await Engine(f).call()).ops
        return [(type(op.display_name), op.display_name, op.userland.index) for op in ops if op.userland]

    assert on_loop(main) == [(str, "charge", None), (str, "charge", 1), (str, "charge", 2)]


def test_an_id_that_looks_like_a_repeat_of_another() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        return await asyncio.gather(*(ctx.step.run(name, value, i) for i, name in enumerate(["a", "a", "a:1", "a"])))

    assert result(f) == "[0, 1, 2, 3]"


@pytest.mark.parametrize("bad", [5, None, b"a", "", "  ", "\ud800"])
def test_ids_that_are_no_text_are_a_clear_error(bad: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        return await ctx.step.run(bad, value, 1)

    def g(ctx: Any) -> Any:
        return ctx.step.run(bad, lambda: 1)

    async def sync() -> Any:
        with pytest.raises(Failed, match="a step needs an id"):
            await Engine(g).run()

    assert "a step needs an id" in result(f)
    on_loop(sync)


def test_huge_event_data() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        return await ctx.step.run("size", value, len(ctx.event.data["text"]))

    assert result(f, data={"text": "x" * 3_000_000}) == "3000000"


async def test_a_timer_that_outlives_the_function_does_nothing() -> None:
    seen: list[str] = []
    tasks: list[Any] = []

    async def f(ctx: Any) -> str:
        def late() -> None:
            seen.append("late")
            tasks.append(asyncio.ensure_future(ctx.step.run("late", value, 1)))

        asyncio.get_running_loop().call_later(0.05, late)
        return "done"

    engine = Engine(f)
    before = len(asyncio.all_tasks())
    assert await engine.call() is not None
    await asyncio.sleep(0.1)
    assert len(asyncio.all_tasks()) == before
    assert seen == []
    assert engine.late == []
    await engine.executor.close()


async def test_the_context_used_by_somebody_else_after_the_end() -> None:
    kept: list[Any] = []

    async def f(ctx: Any) -> str:
        kept.append(ctx)
        return "done"

    assert await Engine(f).run() == "done"
    with pytest.raises(Exception, match="outside of its run"):
        await kept[0].step.run("late", value, 1)


async def test_a_lock_shared_between_runs() -> None:
    lock = asyncio.Lock()

    async def f(ctx: Any) -> Any:
        async with lock:
            await ctx.step.run("a", value, 1)
            return await ctx.step.sleep("b", "1s")

    engines = [Engine(f) for _ in range(3)]
    assert await asyncio.gather(*(engine.run() for engine in engines)) == [None] * 3


def test_methods_and_instances_as_functions() -> None:
    class Job:
        def __init__(self, base: int) -> None:
            self.base = base

        async def __call__(self, ctx: Any) -> Any:
            return await ctx.step.run("a", self.add, 1)

        async def add(self, x: int) -> int:
            return self.base + x

    async def main(handler: Any) -> Any:
        return await Engine(handler).run()

    assert on_loop(lambda: main(Job(2))) == 3
    assert on_loop(lambda: main(Job(3).__call__)) == 4
    assert on_loop(lambda: main(functools.partial(Job.__call__, Job(4)))) == 5


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("way", ["id", "branch"])
def test_always_replay_names_what_is_not_deterministic(sync: bool, way: str) -> None:
    passes: list[None] = []

    def first(step: Any) -> Any:
        passes.append(None)
        if way == "branch" and len(passes) > 1:
            return None
        return step.run(f"charge {uuid.uuid4()}", lambda: 1)

    async def f(ctx: Any) -> Any:
        call = first(ctx.step)
        return call and await call

    def g(ctx: Any) -> Any:
        return first(ctx.step)

    async def main(replay: bool) -> Any:
        return await Engine(g if sync else f, replay=replay).run()

    with pytest.raises(Failed, match="NotDeterministic: a replay of app-f left the recorded path"):
        on_loop(lambda: main(True))
