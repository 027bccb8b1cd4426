"""Functions written with ``def``: unwound and replayed."""

import threading
from typing import Any

import pytest

import stepwell
from stepwell import StepError, Suspend
from tests.sdk.fake_engine import Engine, Failed, last


async def test_steps_in_order() -> None:
    passes: list[int] = []

    def f(ctx: Any) -> Any:
        passes.append(1)
        one = ctx.step.run("a", lambda: 1)
        ctx.step.sleep("nap", "1h")
        page = ctx.step.fetch("http://x.test/p")
        two = ctx.step.run("a", lambda x: x, 2)
        return [one, page.text, two, threading.current_thread() is threading.main_thread()]

    engine = Engine(f)
    assert await engine.run() == [1, "http://x.test/p", 2, False]
    assert len(passes) == 5


async def test_parallel_is_coalesced() -> None:
    ran: list[str] = []

    def note(name: str) -> str:
        ran.append(name)
        return name

    def f(ctx: Any) -> Any:
        def chain() -> str:
            return ctx.step.run("c1", note, "c1") + ctx.step.run("c2", note, "c2")

        return ctx.group.parallel((lambda: ctx.step.run("a", note, "a"), lambda: ctx.step.run("b", note, "b"), chain))

    engine = Engine(f, choose=last)
    assert await engine.run() == ["a", "b", "c1c2"]
    assert [op.display_name for op in engine.answers[0].ops] == ["a", "b", "c1"]
    assert all(op.opts is None for op in engine.answers[0].ops)
    assert sorted(ran) == ["a", "b", "c1", "c2"]


async def test_parallel_errors_wait_for_the_others() -> None:
    def bad() -> None:
        raise stepwell.NonRetriableError("bad")

    def f(ctx: Any) -> Any:
        try:
            ctx.group.parallel((lambda: ctx.step.run("bad", bad), lambda: ctx.step.run("good", lambda: 1)))
        except StepError as error:
            return error.message

    assert await Engine(f).run() == "bad"


@pytest.mark.parametrize("how", ["swallow", "convert", "loop", "return in finally", "in parallel"])
async def test_swallowing_the_suspension_is_an_error_that_says_where(how: str) -> None:
    def swallowing(ctx: Any) -> Any:
        while True:
            try:
                return ctx.step.run("a", lambda: 1)
            except BaseException as error:
                if how == "convert":
                    raise RuntimeError("converted") from error
                if how != "loop":
                    return None

    def finally_returns(ctx: Any) -> Any:
        try:
            ctx.step.run("a", lambda: 1)
        finally:
            return None  # noqa: B012

    def parallel(ctx: Any) -> Any:
        return ctx.group.parallel((lambda: swallowing(ctx),))

    f = {"return in finally": finally_returns, "in parallel": parallel}.get(how, swallowing)
    with pytest.raises(Failed, match=r"SuspensionSwallowed: .*'a' at .*test_sync_functions\.py:\d+.*BaseException"):
        await Engine(f).run()


async def test_steps_in_finally_run_when_their_time_comes() -> None:
    order: list[str] = []

    def f(ctx: Any) -> Any:
        try:
            ctx.step.run("a", order.append, "a")
        finally:
            ctx.step.run("b", order.append, "b")
        return order

    assert await Engine(f).run() == ["a", "b"]


async def test_suspension_may_be_caught_and_raised_again() -> None:
    def f(ctx: Any) -> Any:
        try:
            return ctx.step.run("a", lambda: 1)
        except Suspend:
            raise

    assert await Engine(f).run() == 1


async def test_targeted_step_and_one_that_is_gone() -> None:
    def f(ctx: Any) -> Any:
        return ctx.step.run("a", lambda: 1)

    engine = Engine(f)
    answer = await engine.call(stepwell.wire.ids.step_hash("a"))
    assert bytes(answer.ops[0].data or b"") == b"1"
    gone = await engine.call(stepwell.wire.ids.step_hash("b"))
    assert gone.error is not None
    assert gone.error.name == "StepNotFound"


async def test_nested_steps_are_an_error() -> None:
    def f(ctx: Any) -> Any:
        ctx.step.run("outer", lambda: ctx.step.run("inner", lambda: 1))

    with pytest.raises(Failed, match="inside the step 'outer'"):
        await Engine(f).run()


async def test_retries_and_errors() -> None:
    tries: list[int] = []

    def flaky() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("again")
        return "ok"

    def f(ctx: Any) -> Any:
        return ctx.step.run("flaky", flaky)

    assert await Engine(f).run() == "ok"


async def test_waiting_holds_no_thread() -> None:
    def f(ctx: Any) -> Any:
        ctx.step.sleep("long", "1h")

    engine = Engine(f)
    await engine.call()
    before = threading.active_count()
    for _ in range(40):
        await engine.call()
    # A call may find its thread not quite idle again and take another one; waiting runs would hold forty.
    assert threading.active_count() <= before + 20
    await engine.executor.close()


async def test_blocking_steps_run_at_the_same_time() -> None:
    async def f(ctx: Any) -> Any:
        return None

    engine = Engine(f)
    pool = engine.executor._pool
    gate = threading.Barrier(8, timeout=30)
    futures = [pool.submit(gate.wait) for _ in range(8)]
    assert sorted(future.result(5) for future in futures) == list(range(8))
    again = pool.submit(lambda: 1)
    assert again.result(5) == 1
    pool.close()


class NothingToSay(Exception):
    """An exception that counts as false, as those that hold a list of problems do when it is empty."""

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize("replay", [False, True])
async def test_an_exception_that_counts_as_false_is_one(replay: bool) -> None:
    def f(ctx: Any) -> Any:
        ctx.step.run("a", lambda: 1)
        raise NothingToSay("boom")

    with pytest.raises(Failed, match="NothingToSay: boom"):
        await Engine(f, max_attempts=1, replay=replay).run()


class Detached:
    def model_dump(self, **_: Any) -> Any:
        raise KeyError("the session is closed")


@pytest.mark.parametrize("sync", [True, False])
async def test_a_result_that_raises_when_it_is_written_is_an_error(sync: bool) -> None:
    def plain(ctx: Any) -> Any:
        return Detached()

    async def coroutine(ctx: Any) -> Any:
        return Detached()

    with pytest.raises(Failed, match="the session is closed"):
        await Engine(plain if sync else coroutine, max_attempts=1).run()
