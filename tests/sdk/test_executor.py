"""The executor's protocol: what it answers to which call."""

import asyncio
import gc
import itertools
import logging
import threading
import time
from typing import Any

import msgspec
import pytest

from stepwell import NonRetriableError, RetryAfterError, RunAbandoned, StepError, StepUsageError
from stepwell.sdk.drivers.settle import Patience
from stepwell.wire.calls import AnswerKind
from stepwell.wire.ids import step_hash
from tests.sdk.fake_engine import Engine, Failed


async def value(x: Any) -> Any:
    return x


async def both(ctx: Any) -> Any:
    return await asyncio.gather(ctx.step.run("a", value, 1), ctx.step.run("b", value, 2))


def ops(answer: Any) -> list[tuple[str, str]]:
    return [(str(op.op), op.display_name) for op in answer.ops]


async def test_one_step_is_executed_at_once_and_several_are_planned() -> None:
    async def one(ctx: Any) -> Any:
        return await ctx.step.run("a", value, 1)

    engine = Engine(one)
    answer = await engine.call()
    assert ops(answer) == [("StepRun", "a")]
    assert answer.ops[0].id == step_hash("a")
    assert bytes(answer.ops[0].data or b"") == b"1"
    assert answer.req_version == 2
    planned = await Engine(one).call(disable_immediate=True)
    assert ops(planned) == [("StepPlanned", "a")]
    assert planned.ops[0].opts is None
    several = await Engine(both).call()
    assert ops(several) == [("StepPlanned", "a"), ("StepPlanned", "b")]
    assert all(b'"parallelMode":"race"' in bytes(op.opts or b"") for op in several.ops)
    await engine.executor.close()


async def test_only_new_ops_are_reported_and_lost_answers_repeated() -> None:
    async def f(ctx: Any) -> Any:
        async def chain() -> Any:
            await ctx.step.sleep("a", "1s")
            return await ctx.step.sleep("b", "1s")

        await asyncio.gather(chain(), ctx.step.sleep("c", "1s"))

    engine = Engine(f)
    assert ops(await engine.call()) == [("Sleep", "c"), ("Sleep", "a")]
    engine.end(step_hash("a"), b"null")
    assert ops(await engine.call()) == [("Sleep", "b")]
    # the same call again: that answer was lost
    assert ops(await engine.call()) == [("Sleep", "c"), ("Sleep", "b")]
    assert ops(await engine.call(rescued=True)) == [("Sleep", "c"), ("Sleep", "b")]
    engine.end(step_hash("b"), b"null")
    assert ops(await engine.call(attempt=1)) == [("Sleep", "c")]
    engine.end(step_hash("c"), b"null")
    assert (await engine.call()).kind is AnswerKind.RETURNED
    assert engine.executor.kept == 0


async def test_targeted_steps_run_at_once_beside_a_discovery() -> None:
    started: list[str] = []
    gate = asyncio.Event()

    async def slow(name: str) -> str:
        started.append(name)
        await gate.wait()
        return name

    async def f(ctx: Any) -> Any:
        return await asyncio.gather(*(ctx.step.run(name, slow, name) for name in "abc"))

    engine = Engine(f)
    await engine.call()
    calls = [asyncio.create_task(engine.call(step_hash(name))) for name in "abc"]
    await asyncio.sleep(0.02)
    assert started == ["a", "b", "c"]
    again = await engine.call()
    assert len(again.ops) == 3
    gate.set()
    for name, answer in zip("abc", await asyncio.gather(*calls), strict=True):
        assert ops(answer) == [("StepRun", name)]
        engine.end(step_hash(name), b'{"data":' + bytes(answer.ops[0].data or b"") + b"}")
    final = await engine.call()
    assert msgspec.json.decode(final.data) == ["a", "b", "c"]


@pytest.mark.parametrize("replay", [False, True])
async def test_targeted_step_is_found_by_replaying(replay: bool) -> None:
    engine = Engine(both, replay=replay)
    answer = await engine.call(step_hash("b"))
    assert ops(answer) == [("StepRun", "b")]
    assert engine.executor.kept == (0 if replay else 1)
    await engine.executor.close()


@pytest.mark.parametrize("replay", [False, True])
async def test_targeted_step_that_is_gone(replay: bool) -> None:
    engine = Engine(both, replay=replay)
    answer = await engine.call(step_hash("renamed"))
    assert answer.kind is AnswerKind.ERROR
    assert answer.error is not None
    assert answer.error.name == "StepNotFound"
    assert "code may have changed" in answer.error.message
    assert "a, b" in answer.error.message
    assert answer.no_retry is False


@pytest.mark.parametrize("replay", [False, True])
async def test_targeted_step_that_was_abandoned_is_not_run(replay: bool) -> None:
    ran: list[str] = []

    async def note(name: str) -> None:
        ran.append(name)

    async def f(ctx: Any) -> Any:
        tasks = [asyncio.create_task(ctx.step.run(name, note, name)) for name in "ab"]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        tasks[1].cancel()
        await ctx.step.sleep("rest", "1s")
        return "ok"

    engine = Engine(f, replay=replay)
    await engine.call()
    engine.end(step_hash("a"), b'{"data":null}')
    await engine.call()
    answer = await engine.call(step_hash("b"))
    assert ops(answer) == [("StepFailed", "b")]
    assert b"StepAbandoned" in bytes(answer.ops[0].error or b"")
    assert ran == []
    engine.end(step_hash("b"), b'{"error":{"name":"StepAbandoned"}}')
    engine.end(step_hash("rest"), b"null")
    assert (await engine.call()).data == b'"ok"'
    await engine.executor.close()


async def test_failed_step_is_tried_again_without_replaying_the_function() -> None:
    starts, tries = [], []

    async def flaky() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError(f"try {len(tries)}")
        return "ok"

    async def f(ctx: Any) -> Any:
        starts.append(ctx.attempt)
        return await ctx.step.run("flaky", flaky)

    engine = Engine(f, max_attempts=4)
    assert await engine.run() == "ok"
    assert (len(starts), len(tries)) == (1, 3)
    error = msgspec.json.decode(engine.answers[0].ops[0].error or b"")
    assert (error["name"], error["message"]) == ("ValueError", "try 1")
    assert "in flaky" in error["stack"]


async def test_last_attempt_is_reported_as_failed_and_raised_in_the_function() -> None:
    async def bad() -> None:
        raise ValueError("always")

    async def f(ctx: Any) -> Any:
        try:
            await ctx.step.run("bad", bad)
        except StepError as error:
            return [error.name, error.message]

    engine = Engine(f, max_attempts=2)
    assert await engine.run() == ["ValueError", "always"]
    assert [ops(answer) for answer in engine.answers[:2]] == [[("StepError", "bad")], [("StepFailed", "bad")]]


async def test_uncaught_step_error_is_final() -> None:
    async def bad() -> None:
        raise NonRetriableError("no use")

    async def f(ctx: Any) -> Any:
        await ctx.step.run("bad", bad)

    engine = Engine(f)
    with pytest.raises(Failed, match="NonRetriableError: no use"):
        await engine.run()
    assert engine.answers[0].no_retry is True
    assert engine.answers[-1].no_retry is True


async def test_retry_after() -> None:
    async def later() -> None:
        raise RetryAfterError("busy", 90_000)

    async def f(ctx: Any) -> Any:
        await ctx.step.run("later", later)

    engine = Engine(f)
    answer = await engine.call()
    assert (ops(answer), answer.retry_after, answer.no_retry) == ([("StepError", "later")], "90", None)
    await engine.executor.close()


async def test_function_error_is_replayed_from_the_start() -> None:
    starts: list[int] = []

    async def f(ctx: Any) -> Any:
        starts.append(ctx.attempt)
        await ctx.step.run("a", value, 1)
        if ctx.attempt == 0:
            raise ValueError("first")
        return ctx.attempt

    engine = Engine(f)
    assert await engine.run() == 1
    assert starts == [0, 1]


async def test_unknown_function_and_unserialisable_result() -> None:
    async def f(ctx: Any) -> Any:
        return {"list": [1, object()]}

    engine = Engine(f)
    answer = await engine.call()
    assert answer.no_retry is True
    assert answer.error is not None
    assert "object at $['list'][1]" in answer.error.message
    engine.function_id = "app-other"
    other = await engine.call()
    assert other.error is not None
    assert "app-f" in other.error.message


async def test_nested_steps_and_foreign_callers_are_errors() -> None:
    problems: list[str] = []

    async def f(ctx: Any) -> Any:
        async def inner() -> Any:
            try:
                await ctx.step.run("inner", value, 1)
            except StepUsageError as error:
                problems.append(str(error))

        await ctx.step.run("outer", inner)

        def in_thread() -> None:
            try:
                ctx.step.run("thread", value, 1)
            except StepUsageError as error:
                problems.append(str(error))

        await asyncio.to_thread(in_thread)
        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        return len(problems)

    assert await Engine(f).run() == 3
    assert "inside the step 'outer'" in problems[0]
    assert "outside of its run" in problems[1]
    assert "outside of its run" in problems[2]


async def test_duplicate_ids_get_an_index_and_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def dup(ctx: Any) -> Any:
        return await asyncio.gather(*(ctx.step.run("same in one gather", value, i) for i in range(3)))

    engine = Engine(dup, replay=True)
    with caplog.at_level(logging.WARNING, "stepwell"):
        assert await engine.run() == [0, 1, 2]
    assert [op.id for op in engine.answers[0].ops] == [step_hash("same in one gather", i) for i in range(3)]
    assert sum("same in one gather" in record.message for record in caplog.records) == 1


async def test_sequential_repeats_do_not_warn(caplog: pytest.LogCaptureFixture) -> None:
    async def f(ctx: Any) -> Any:
        return [await ctx.step.run("again", value, i) for i in range(3)]

    with caplog.at_level(logging.WARNING, "stepwell"):
        assert await Engine(f).run() == [0, 1, 2]
    assert [r for r in caplog.records if r.name.startswith("stepwell")] == []


async def test_eviction_gives_up_the_coldest_and_replays_it() -> None:
    cleaned: list[str] = []

    async def f(ctx: Any) -> Any:
        try:
            await ctx.step.sleep("a", "1s")
            return "done"
        except asyncio.CancelledError:
            try:
                await ctx.step.run("clean", value, 1)
            except RunAbandoned:
                cleaned.append(ctx.run_id)
                raise

    engine = Engine(f, max_kept=1)
    request = engine.request()
    await engine.executor.execute(request)
    request.run_id = "run2"
    await engine.executor.execute(request)
    assert engine.executor.kept == 1
    engine.end(step_hash("a"), b"null")
    assert (await engine.call()).data == b'"done"'
    await engine.executor.close()
    assert cleaned == ["run1", "run2"]


async def test_a_different_history_replaces_what_was_kept() -> None:
    starts: list[int] = []

    async def f(ctx: Any) -> Any:
        starts.append(1)
        done, _ = await asyncio.wait(
            [
                asyncio.create_task(ctx.step.sleep("a", "1s"), name="a"),
                asyncio.create_task(ctx.step.sleep("b", "1s"), name="b"),
            ],
            return_when=asyncio.FIRST_COMPLETED,
        )
        await ctx.step.sleep("then", "1s")
        return done.pop().get_name()

    engine = Engine(f)
    await engine.call()
    engine.end(step_hash("a"), b"null")
    await engine.call()
    engine.stack[:] = [step_hash("b"), step_hash("then")]
    engine.steps = dict.fromkeys(engine.stack, b"null")
    assert (await engine.call()).data == b'"b"'
    assert len(starts) == 2


async def test_swallowing_everything_neither_hangs_nor_corrupts(caplog: pytest.LogCaptureFixture) -> None:
    async def f(ctx: Any) -> Any:
        while True:
            try:
                return await ctx.step.run("a", value, 1)
            except BaseException:
                continue

    engine = Engine(f, replay=True)
    with caplog.at_level(logging.WARNING, "stepwell"):
        assert await engine.run() == 1
    assert any("clean-up of a given-up execution" in record.message for record in caplog.records)


async def test_clean_up_that_never_ends_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    never = asyncio.Event()

    async def f(ctx: Any) -> Any:
        try:
            await ctx.step.sleep("a", "1s")
        finally:
            await never.wait()

    engine = Engine(f)
    await engine.call()
    with caplog.at_level(logging.WARNING, "stepwell"):
        await engine.executor.close()
    assert any("has not ended" in record.message for record in caplog.records)
    never.set()
    await asyncio.sleep(0.01)


async def test_forgetting_a_cancelled_run() -> None:
    async def f(ctx: Any) -> Any:
        await ctx.step.sleep("a", "1s")

    engine = Engine(f)
    await engine.call()
    assert engine.executor.kept == 1
    await engine.executor.abandon("run1")
    assert engine.executor.kept == 0


async def test_late_steps_are_announced() -> None:
    go = asyncio.Event()

    async def f(ctx: Any) -> Any:
        async def late() -> Any:
            await go.wait()
            return await ctx.step.run("late", value, 2)

        return await asyncio.gather(ctx.step.sleep("a", "3600s"), late())

    engine = Engine(f)
    assert ops(await engine.call()) == [("Sleep", "a")]
    assert engine.late == []
    go.set()
    await asyncio.sleep(0.02)
    assert engine.late == ["run1"]
    assert ops(await engine.call()) == [("StepPlanned", "late")]
    await engine.executor.close()


async def test_a_stuck_function_says_so() -> None:
    async def f(ctx: Any) -> Any:
        await asyncio.get_running_loop().create_future()

    answer = await Engine(f, patience=Patience(idle=0.05)).call()
    assert answer.error is not None
    assert answer.error.name == "FunctionStuck"


async def test_deadlock_on_a_lock_says_so() -> None:
    async def f(ctx: Any) -> Any:
        lock = asyncio.Lock()
        async with lock, lock:
            pass

    answer = await Engine(f, patience=Patience(idle=0.05)).call()
    assert answer.error is not None
    assert answer.error.name == "FunctionStuck"


async def test_slow_real_waits_are_not_stuck() -> None:
    async def f(ctx: Any) -> Any:
        await asyncio.to_thread(time.sleep, 0.3)
        await asyncio.sleep(0.2)
        return "ok"

    assert (await Engine(f, patience=Patience(idle=0.05)).call()).data == b'"ok"'


async def test_outcome_of_a_step_travels_as_json() -> None:
    async def f(ctx: Any) -> Any:
        got = await ctx.step.run("tuple", value, (1, {"a": {2}}))
        return repr(got)

    assert await Engine(f).run() == "[1, {'a': [2]}]"


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("replay", [False, True])
async def test_the_functions_logger_logs_once(sync: bool, replay: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def f(ctx: Any) -> Any:
        ctx.logger.info("start")
        for i in range(3):
            await ctx.step.run("a", value, i)
            ctx.logger.info("after %s", i)

    def g(ctx: Any) -> Any:
        ctx.logger.info("start")
        for i in range(3):
            ctx.step.run("a", lambda: 1)
            ctx.logger.info("after %s", i)

    with caplog.at_level(logging.INFO, "stepwell.functions"):
        await Engine(g if sync else f, replay=replay).run()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("stepwell")] == [
        "start",
        "after 0",
        "after 1",
        "after 2",
    ]


async def test_memory_of_finished_runs_is_freed() -> None:
    class Marker:
        pass

    async def f(ctx: Any) -> Any:
        marker = Marker()
        await ctx.step.run("a", value, 1)
        return marker is not None

    engine = Engine(f)
    assert await engine.run() is True
    engine.answers.clear()
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is Marker]


async def test_a_thousand_sequential_steps_at_a_flat_cost() -> None:
    marks: list[float] = []

    async def f(ctx: Any) -> Any:
        for i in range(1000):
            await ctx.step.run("s", value, i)
            if i % 250 == 249:
                marks.append(time.process_time())
        return "ok"

    engine = Engine(f)
    steps: dict[str, bytes] = {}
    stack: list[str] = []
    request = engine.request()
    request.steps, request.stack = steps, stack
    marks.append(time.process_time())
    while True:
        request.current = len(stack)
        answer = await engine.executor.execute(request)
        if answer.kind is not AnswerKind.OPS:
            break
        steps[answer.ops[0].id] = b'{"data":' + bytes(answer.ops[0].data or b"") + b"}"
        stack.append(answer.ops[0].id)
    quarters = [after - before for before, after in itertools.pairwise(marks)]
    assert len(quarters) == 4
    assert quarters[3] < quarters[0] * 3 + 0.05
