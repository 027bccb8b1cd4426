"""Functions run in memory: what the outcome says, virtual time, stand-ins, errors."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

import stepwell
from stepwell.testing import RunFailed, ScriptedHttp, UnexpectedRequest, UnknownStep, arun_function, each, run_function
from stepwell.testing.clock import FakeClock
from stepwell.testing.run import _Run

URL = "https://api.example.com/x"


def function(handler: Any, *, event: str = "go", expression: str | None = None, **options: Any) -> stepwell.Function:
    client = stepwell.Client(app_id="app", is_production=False)
    trigger = stepwell.TriggerEvent(event=event, expression=expression)
    return client.create_function(fn_id="f", trigger=trigger, **options)(handler)


def test_output_steps_and_event() -> None:
    async def handler(ctx: stepwell.Context) -> dict[str, Any]:
        doubled = await ctx.step.run("double", lambda: ctx.event.data["n"] * 2)
        return {"name": ctx.event.name, "doubled": doubled}

    outcome = run_function(function(handler), data={"n": 4})
    assert outcome.completed
    assert outcome.output == {"name": "go", "doubled": 8}
    step = outcome.step("double")
    assert (step.kind, step.status, step.attempts, step.output) == ("run", "completed", 1, 8)
    with pytest.raises(KeyError, match="there is no step 'triple' in this run"):
        outcome.step("triple")


def test_the_data_of_an_event_is_what_makes_an_object() -> None:
    @dataclass
    class Order:
        n: int

    async def handler(ctx: stepwell.Context) -> Any:
        return ctx.event.data

    assert run_function(function(handler), data=cast("Any", Order(4))).output == {"n": 4}
    for wrong in ([1], "x", 5):
        with pytest.raises(ValueError, match="its data has to be a JSON object"):
            run_function(function(handler), data=cast("Any", wrong))


def test_sleeps_take_no_time() -> None:
    async def handler(ctx: stepwell.Context) -> None:
        await ctx.step.sleep("month", "30d")
        await asyncio.gather(ctx.step.sleep("a", "2h"), ctx.step.sleep("b", "1h"))

    began = time.monotonic()
    outcome = run_function(function(handler)).raise_for_error()
    assert outcome.elapsed == timedelta(days=30, hours=2)
    assert time.monotonic() - began < 5


def test_start_is_the_time_of_the_run() -> None:
    async def handler(ctx: stepwell.Context) -> int:
        await ctx.step.sleep_until("new year", datetime(2031, 1, 1, tzinfo=UTC))
        return ctx.event.ts

    start = datetime(2030, 12, 31, 23, 0, tzinfo=UTC)
    outcome = run_function(function(handler), start=start).raise_for_error()
    assert outcome.output == start.timestamp() * 1000
    assert outcome.elapsed == timedelta(hours=1)
    with pytest.raises(ValueError, match="has no zone"):
        run_function(function(handler), start=start.replace(tzinfo=None))


@pytest.mark.parametrize("always_replay", [False, True])
def test_a_durable_time_out_goes_by_the_virtual_clock(*, always_replay: bool) -> None:
    async def handler(ctx: stepwell.Context) -> str:
        try:
            async with asyncio.timeout(60):
                await ctx.step.sleep("long", "1h")
        except TimeoutError:
            return "too long"
        return "slept"

    outcome = run_function(function(handler), always_replay=always_replay).raise_for_error()
    assert outcome.output == "too long"
    assert timedelta(seconds=59) < outcome.elapsed < timedelta(seconds=61)


def test_retries_of_a_step_take_no_time() -> None:
    tries: list[int] = []

    async def flaky() -> str:
        tries.append(1)
        if len(tries) < 4:
            raise ValueError("not yet")
        return "at last"

    async def handler(ctx: stepwell.Context) -> str:
        return await ctx.step.run("flaky", flaky)

    outcome = run_function(function(handler)).raise_for_error()
    assert outcome.output == "at last"
    assert outcome.step("flaky").attempts == 4
    assert outcome.elapsed > timedelta(seconds=1)


def test_a_failed_run_says_why() -> None:
    async def handler(ctx: stepwell.Context) -> None:
        await ctx.step.run("bad", each_fails)

    async def each_fails() -> None:
        raise ValueError("no luck")

    outcome = run_function(function(handler, retries=1))
    assert (outcome.status, outcome.output, outcome.completed) == ("failed", None, False)
    assert outcome.error is not None
    assert (outcome.error.name, outcome.error.message) == ("ValueError", "no luck")
    step = outcome.step("bad")
    assert (step.status, step.attempts) == ("failed", 2)
    assert step.error is not None
    assert step.error.message == "no luck"
    with pytest.raises(RunFailed, match=r"ValueError: no luck(?s:.*)each_fails"):
        outcome.raise_for_error()


def test_a_sync_function() -> None:
    def handler(ctx: stepwell.ContextSync) -> int:
        first = ctx.step.run("one", lambda: 1)
        ctx.step.sleep("rest", "1d")
        status = ctx.step.fetch(URL).status_code
        return first + status

    http = ScriptedHttp()
    http.get(URL).respond(200)
    outcome = run_function(function(handler), http=http).raise_for_error()
    assert outcome.output == 201
    assert [(step.id, step.kind) for step in outcome.steps] == [
        ("one", "run"),
        ("rest", "sleep"),
        ("GET api.example.com/x", "fetch"),
    ]
    assert outcome.steps[2].output == 200


async def test_on_a_loop_that_runs() -> None:
    async def handler(ctx: stepwell.Context) -> list[int]:
        return list(await asyncio.gather(*(ctx.step.run(f"s{n}", int, str(n)) for n in range(5))))

    found = function(handler)
    outcomes = await asyncio.gather(*(arun_function(found) for _ in range(3)))
    assert [each.output for each in outcomes] == [[0, 1, 2, 3, 4]] * 3
    with pytest.raises(RuntimeError, match="await arun_function"):
        run_function(found)


def test_a_large_body() -> None:
    async def handler(ctx: stepwell.Context) -> int:
        return len((await ctx.step.fetch(URL)).content)

    http = ScriptedHttp()
    http.get(URL).respond(content=b"x" * 400_000)
    assert run_function(function(handler), http=http).raise_for_error().output == 400_000


@pytest.mark.parametrize("sync", [False, True])
def test_stand_ins(*, sync: bool) -> None:
    async def handler(ctx: stepwell.Context) -> list[Any]:
        first = await ctx.step.run("charge", real)
        second = await ctx.step.run("again", real)
        return [first, second, await ctx.step.run("own", lambda: "own")]

    def handler_sync(ctx: stepwell.ContextSync) -> list[Any]:
        return [ctx.step.run("charge", real), ctx.step.run("again", real), ctx.step.run("own", lambda: "own")]

    def real() -> str:
        raise AssertionError("this must not run")

    steps = {"charge": {"id": 7}, "again": each(ValueError("no"), RuntimeError, lambda: "yes")}
    outcome = run_function(function(handler_sync if sync else handler), steps=steps).raise_for_error()
    assert outcome.output == [{"id": 7}, "yes", "own"]
    assert [step.attempts for step in outcome.steps] == [1, 3, 1]


def test_a_stand_in_that_fails_for_good() -> None:
    async def handler(ctx: stepwell.Context) -> str:
        try:
            return await ctx.step.run("charge", lambda: "charged")
        except stepwell.StepError as error:
            return f"{error.name}: {error.message}"

    outcome = run_function(function(handler), steps={"charge": stepwell.NonRetriableError("card declined")})
    assert outcome.output == "NonRetriableError: card declined"
    assert outcome.step("charge").attempts == 1
    tried = run_function(function(handler, retries=2), steps={"charge": ValueError("down")})
    assert tried.output == "ValueError: down"
    assert tried.step("charge").attempts == 3


def test_a_stand_in_for_no_step() -> None:
    async def handler(ctx: stepwell.Context) -> None:
        await ctx.step.run("charge", lambda: 1)
        await ctx.step.sleep("rest", 1)

    with pytest.raises(UnknownStep, match=r"'chrage'.* \(it came to: 'charge', 'rest'\)"):
        run_function(function(handler), steps={"chrage": 1})
    with pytest.raises(UnknownStep, match="that step is a Sleep op"):
        run_function(function(handler), steps={"rest": 1})
    with pytest.raises(ValueError, match="a result at least"):
        each()


async def test_events_stay_in_the_test() -> None:
    async def handler(ctx: stepwell.Context) -> list[str]:
        return await ctx.step.send_event(
            "tell", [stepwell.Event(name="a", data={"n": 1}), stepwell.Event(name="b", id="x")]
        )

    def handler_sync(ctx: stepwell.ContextSync) -> list[str]:
        return ctx.step.send_event("tell", stepwell.Event(name="c"))

    found = function(handler)
    outcomes = await asyncio.gather(arun_function(found), arun_function(found), arun_function(function(handler_sync)))
    assert [[event.name for event in outcome.events] for outcome in outcomes] == [["a", "b"], ["a", "b"], ["c"]]
    assert outcomes[0].output == ["event-1", "x"]
    assert found.client._send_override is None


async def test_stand_ins_for_what_a_function_waits_for() -> None:
    async def handler(ctx: stepwell.Context) -> list[object]:
        paid = await ctx.step.wait_for_event("paid", event="paid", timeout="1d")
        answer = await ctx.step.wait_for_signal("answer", signal="yes", timeout="1d")
        told = await ctx.step.send_signal("tell", signal="done", data={"n": 1})
        return [paid and paid.data, answer and [answer.signal, answer.data], told]

    def handler_sync(ctx: stepwell.ContextSync) -> list[object]:
        paid = ctx.step.wait_for_event("paid", event="paid", timeout="1d")
        answer = ctx.step.wait_for_signal("answer", signal="yes", timeout="1d")
        return [paid and paid.data, answer and [answer.signal, answer.data], ctx.step.send_signal("tell", signal="d")]

    paid = stepwell.Event(name="paid", data={"amount": 1})
    for each_handler in (handler, handler_sync):
        found = await arun_function(function(each_handler), steps={"paid": paid, "answer": [1], "tell": "run"})
        assert found.output == [{"amount": 1}, ["yes", [1]], "run"]
        found = await arun_function(function(each_handler), steps={"paid": None, "answer": None})
        assert found.output == [None, None, None]
    found = await arun_function(function(handler))
    assert (found.output, found.elapsed.days) == ([None, None, None], 2)
    assert found.signals == [stepwell.Signal("done", {"n": 1})]


def test_the_event_has_to_start_the_function() -> None:
    async def handler(ctx: stepwell.Context) -> str:
        return ctx.event.name

    found = function(handler, event="order/*", expression="event.data.total > 10")
    assert run_function(found, data={"total": 11}).output == "order/test"
    assert run_function(found, event={"name": "order/new", "data": {"total": 11}}).output == "order/new"
    with pytest.raises(ValueError, match=r"'order/test' does not start app-f: .*'order/\*' if event.data.total > 10"):
        run_function(found, event=stepwell.Event(data={"total": 9}))
    with pytest.raises(TypeError, match="for data="):
        run_function(found, event={"total": 11})
    with pytest.raises(TypeError, match="not both"):
        run_function(found, event={}, data={})
    with pytest.raises(TypeError, match="not function"):
        run_function(cast(Any, handler))


def test_a_run_that_does_not_end_is_no_hang() -> None:
    async def handler(ctx: stepwell.Context) -> None:
        await ctx.step.run("wait", asyncio.sleep, 60)

    with pytest.raises(TimeoutError, match=r"app-f has not ended within 0\.3 s of real time: .*"):
        run_function(function(handler), timeout=0.3)


async def test_what_an_execution_finds_when_all_is_over_leaves_no_task_behind() -> None:
    async def handler(ctx: stepwell.Context) -> int:
        return 1

    run = _Run(function(handler), ScriptedHttp(), {}, FakeClock(None))
    view = await run.play([{"name": "go", "data": {}}], always_replay=False, timeout=20)
    await run.close()
    before = asyncio.all_tasks()
    run._poke(view.run.run_id)
    assert asyncio.all_tasks() == before


def test_what_is_not_deterministic_is_found() -> None:
    state: list[int] = []

    async def handler(ctx: stepwell.Context) -> None:
        state.append(1)
        if len(state) == 1:
            await asyncio.gather(ctx.step.run("a", lambda: 1), ctx.step.run("b", lambda: 1))
        else:
            await ctx.step.run("c", lambda: 1)

    replayed = run_function(function(handler), always_replay=True)
    assert [step.id for step in replayed.steps] != ["a", "b"] or not replayed.completed
    state.clear()
    assert run_function(function(handler)).completed


def test_an_unexpected_request_ends_the_test_whatever_the_function_catches() -> None:
    async def handler(ctx: stepwell.Context) -> None:
        while True:
            try:
                await ctx.step.fetch(f"{URL}?api_key=hidden")
            except Exception:
                await ctx.step.sleep("again", 1)

    with pytest.raises(UnexpectedRequest, match=r"GET https://api\.example\.com/x\?api_key=\*\*\*; there are no rules"):
        run_function(function(handler))


def test_invoked_functions_have_stand_ins() -> None:
    client = stepwell.Client(app_id="app", is_production=False)

    @client.create_function(fn_id="other", trigger=[])
    async def other(ctx: stepwell.Context) -> list[Any]:
        return [ctx.event.name, ctx.event.data["n"]]

    async def handler(ctx: stepwell.Context) -> Any:
        return await ctx.step.invoke("ask", function=other, data={"n": 1})

    outcome = run_function(function(handler), steps={"ask": {"answer": 42}})
    assert outcome.raise_for_error().output == {"answer": 42}
    assert run_function(other, data={"n": 2}).output == ["inngest/function.invoked", 2]


def test_an_event_of_the_platform() -> None:
    async def handler(ctx: stepwell.Context) -> list[Any]:
        return [ctx.event.name, ctx.event.data["run_id"], ctx.event.id]

    found = function(handler, event="inngest/function.failed")
    outcome = run_function(found, event={"id": "e1", "data": {"run_id": "r1"}})
    assert outcome.output == ["inngest/function.failed", "r1", "e1"]


async def test_events_of_a_batch_go_into_one_run() -> None:
    batched = function(numbers, event="click", batch_events=stepwell.Batch(3, "1m", key="event.data.user"))
    events = [{"data": {"user": "a", "n": 1}}, stepwell.Event(data={"user": "a", "n": 2})]
    outcome = await arun_function(batched, events=events)
    assert (outcome.output, outcome.elapsed) == ([1, 2], timedelta(minutes=1))
    assert (await arun_function(batched, events=events[:1])).output == [1]
    with pytest.raises(ValueError, match="do not go into one run"):
        await arun_function(batched, events=[*events, {"data": {"user": "b"}}])
    with pytest.raises(ValueError, match="events= is empty"):
        await arun_function(batched, events=[])
    with pytest.raises(TypeError, match="give events= alone"):
        await arun_function(batched, events=events, data={})


async def test_several_events_are_no_batch_without_batch_events() -> None:
    alone = function(numbers)
    with pytest.raises(ValueError, match="each event starts a run of its own"):
        await arun_function(alone, events=[{}, {}])


async def numbers(ctx: stepwell.Context) -> list[int]:
    return [event.data["n"] for event in ctx.events]
