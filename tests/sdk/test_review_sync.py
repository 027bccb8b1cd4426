"""The ugly ways people write ``def`` functions."""

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import stepwell
from tests.sdk.fake_engine import Engine, Failed


async def value(x: Any) -> Any:
    return x


async def test_asyncio_run_inside() -> None:
    def f(ctx: Any) -> Any:
        async def main() -> Any:
            first = ctx.step.run("a", lambda: 1)
            await asyncio.sleep(0)
            return first + ctx.step.run("b", value, 2)

        return asyncio.run(main()) + ctx.step.run("c", lambda: 3)

    assert await Engine(f).run() == 6


async def test_fetch_inside_of_asyncio_run_can_be_awaited() -> None:
    def f(ctx: Any) -> Any:
        async def main() -> Any:
            return (await stepwell.fetch("http://x.test/a")).text

        return asyncio.run(main())

    assert await Engine(f).run() == "http://x.test/a"


@pytest.mark.parametrize("way", ["thread", "pool"])
async def test_steps_in_a_thread_are_a_clear_error(way: str) -> None:
    def f(ctx: Any) -> Any:
        if way == "pool":
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(ctx.step.run, "a", lambda: 1).result()
        found: list[BaseException] = []

        def work() -> None:
            try:
                ctx.step.run("a", lambda: 1)
            except BaseException as error:
                found.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        raise found[0]

    with pytest.raises(Failed, match="outside of its run: from a thread"):
        await Engine(f).run()


async def test_exit_stack_generators_and_finally_that_let_the_suspension_pass() -> None:
    def f(ctx: Any) -> Any:
        log: list[Any] = []

        @contextlib.contextmanager
        def saga(name: str) -> Any:
            yield ctx.step.run(f"open {name}", lambda: name)
            log.append(ctx.step.run(f"close {name}", lambda: name))

        def numbers() -> Any:
            for i in range(3):
                yield ctx.step.run("n", lambda i=i: i)

        with contextlib.ExitStack() as stack:
            for name in "ab":
                stack.enter_context(saga(name))
            log.extend(numbers())
        return log

    assert await Engine(f).run() == [0, 1, 2, "b", "a"]


async def test_a_step_in_finally_while_suspended_is_taken_once() -> None:
    ran: list[str] = []

    def f(ctx: Any) -> Any:
        try:
            return ctx.step.run("a", lambda: ran.append("a"))
        finally:
            ctx.step.run("b", lambda: ran.append("b"))

    assert await Engine(f).run() is None
    assert ran == ["a", "b"]


async def test_the_context_after_the_end_is_a_clear_error() -> None:
    kept: list[Any] = []

    def f(ctx: Any) -> str:
        kept.append(ctx)
        return "done"

    assert await Engine(f).run() == "done"
    with pytest.raises(stepwell.StepUsageError, match="outside of its run"):
        kept[0].step.run("late", lambda: 1)
