"""Slips in the code of functions: what happens, in one sentence that says what to write."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest

import stepwell
from stepwell import Client, Event, Middleware, RetryAfterError, TriggerEvent
from stepwell.testing import run_function


def one() -> int:
    return 1


def run(handler: Any) -> Any:
    return run_function(
        Client("app", is_production=False).create_function(fn_id="f", trigger=TriggerEvent("go"), retries=0)(handler)
    )


WRONG: dict[str, tuple[Any, str]] = {
    "sleep_until a text": (lambda ctx: ctx.step.sleep_until("a", "2030-01-01"), "takes a datetime with its zone"),
    "sleep_until a date": (lambda ctx: ctx.step.sleep_until("a", date(2030, 1, 1)), "takes a datetime with its zone"),
    "wait for a number": (lambda ctx: ctx.step.wait_for_event("a", event=5, timeout="1h"), "which event it waits for"),
    "wait if a number": (lambda ctx: ctx.step.wait_for_event("a", event="e", timeout="1h", if_exp=5), "is an expression"),
    "wait a fraction": (lambda ctx: ctx.step.wait_for_event("a", event="e", timeout=1.5), "say the unit of a time-out: '1.5s'"),
    "wait less than nothing": (lambda ctx: ctx.step.wait_for_event("a", event="e", timeout=-1), "can not be negative"),
    "signal": (lambda ctx: ctx.step.wait_for_signal("a", signal=5, timeout="1h"), "which signal it waits for"),
    "invoke a text": (lambda ctx: ctx.step.invoke("a", function="app-f"), "by its id, a function is invoked with step"),
    "invoke a plain function": (lambda ctx: ctx.step.invoke("a", function=one), "what @client.create_function"),
    "invoke nothing": (lambda ctx: ctx.step.invoke_by_id("a", function_id=""), "which function it invokes"),
    "invoke with a list": (lambda ctx: ctx.step.invoke_by_id("a", function_id="x", data=[1]), "is an object, a dict"),
    "send a text": (lambda ctx: ctx.step.send_event("a", "x"), "an event is sent as Event"),
    "send None": (lambda ctx: ctx.step.send_event("a", None), "an event is sent as Event"),
    "send a list as data": (lambda ctx: ctx.step.send_event("a", Event(name="x", data=[1])), "'x' is an object, a dict or"),
    "send a text as data": (lambda ctx: ctx.step.send_event("a", {"name": "x", "data": "y"}), "'x' is an object, a dict or"),
    "send a reserved name": (lambda ctx: ctx.step.send_event("a", Event(name="inngest/x")), "reserved for the platform"),
    "ask without adapter": (lambda ctx: ctx.step.ai.infer("a", adapter="gpt", body={}), "needs an adapter, such as"),
    "ask with a text": (lambda ctx: ctx.step.ai.infer("a", adapter=stepwell.ai.OpenAI(model="m"), body="hi"), "needs a body"),
    "run without id": (lambda ctx: ctx.step.run(one, "a"), "a step needs an id"),
    "a group of a value": (lambda ctx: ctx.group.parallel([1]), "takes functions that call steps, such as lambda"),
    "a group in no mode": (lambda ctx: ctx.group.parallel([one], parallel_mode="x"), "'wait' or 'race', not 'x'"),
    "fetch and follow": (lambda ctx: ctx.step.fetch("https://a.example", follow_redirects="no"), "True or False, not 'no'"),
    "fetch once": (lambda ctx: ctx.step.fetch("https://a.example", at_most_once="yes"), "at_most_once is True or False"),
    "fetch and poll": (lambda ctx: ctx.step.fetch("https://a.example", poll=1), "poll is True or False, not 1"),
    "fetch again": (lambda ctx: ctx.step.fetch("https://a.example", retry=True), "or a Retry, not bool"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_a_step_can_not_take_is_told(name: str) -> None:
    make, says = WRONG[name]

    async def asynchronous(ctx: Any) -> Any:
        return await make(ctx)

    def synchronous(ctx: Any) -> Any:
        return make(ctx)

    for handler in (asynchronous, synchronous):
        error = run(handler).error
        assert error is not None
        assert says in error.message
        assert error.name != "InternalError"


async def forgot(ctx: Any) -> int:
    ctx.step.run("charge", one)
    return 5


async def forgot_and_returned(ctx: Any) -> Any:
    return ctx.step.sleep("charge", "1h")


async def forgot_and_used(ctx: Any) -> Any:
    return ctx.step.run("charge", one) + 1


async def forgot_a_request(ctx: Any) -> Any:
    await ctx.step.run("before", one)
    return ctx.step.fetch("https://x.test", id="charge").json()


async def forgot_a_wait(ctx: Any) -> Any:
    ctx.step.wait_for_event("charge", event="e", timeout="1h")


@pytest.mark.parametrize("handler", [forgot, forgot_and_returned, forgot_and_used, forgot_a_request, forgot_a_wait])
def test_a_forgotten_await_is_told(handler: Any) -> None:
    error = run(handler).error
    assert (error.name, error.message) == (
        "StepUsageError",
        "the function did not await 'charge', so it has not run: write `await` before the call",
    )


async def test_what_is_cancelled_before_it_begins_is_not_forgotten() -> None:
    async def race(ctx: Any) -> int:
        loser = asyncio.create_task(ctx.step.run("loser", one))
        loser.cancel()
        late = asyncio.create_task(ctx.step.run("late", one))
        found = await ctx.step.run("winner", one)
        late.cancel()
        return found

    function = Client("app", is_production=False).create_function(fn_id="f", trigger=TriggerEvent("go"))(race)
    assert (await stepwell.testing.arun_function(function)).output == 1


def test_an_error_of_the_functions_own_goes_before_a_forgotten_await() -> None:
    async def fails(ctx: Any) -> None:
        call = ctx.step.run("charge", one)
        try:
            raise ValueError("no")
        finally:
            call.close()

    assert run(fails).error.name == "ValueError"


def test_a_returned_coroutine_is_told() -> None:
    async def other() -> None: ...

    async def returns(ctx: Any) -> Any:
        found = other()
        try:
            return await ctx.step.run("a", lambda: [found])
        finally:
            found.close()

    assert "a coroutine at $[0], which can not be written as JSON: await it" in run(returns).error.message


def test_when_to_try_again_is_a_duration_or_a_moment_with_a_zone() -> None:
    assert RetryAfterError("x", "10m").retry_after == timedelta(minutes=10)
    with pytest.raises(ValueError, match="has no zone"):
        RetryAfterError("x", datetime(2030, 1, 1))  # noqa: DTZ001 - the slip
    for slip in (None, 1.5, True, [1]):
        with pytest.raises(TypeError, match="say the unit"):
            RetryAfterError("x", slip)  # type: ignore[arg-type]
    assert RetryAfterError("x", datetime(2030, 1, 1, tzinfo=UTC)).retry_after == datetime(2030, 1, 1, tzinfo=UTC)


class Renaming(Middleware):
    async def before_send_events(self, events: list[Event[Any]]) -> None:
        events.reverse()
        events[0].data["seen"] = True
        events.append(Event(name="added"))


async def test_members_that_an_event_has_no_place_for_pass_through_middleware() -> None:
    client = Client("app", is_production=False, middleware=[Renaming])
    sent: list[Any] = []

    async def keep(body: bytes) -> list[str]:
        sent.extend(msgspec.json.decode(body))
        return []

    client._send_override = keep
    meta = {"sessions": {"chat": ["1"]}}
    await client.send([{"name": "a", "data": {}}, {"name": "b", "data": {}, "meta": meta}])
    assert sent == [{"name": "b", "data": {"seen": True}, "meta": meta}, {"name": "a"}, {"name": "added"}]
