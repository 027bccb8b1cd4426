"""Errors of steps as the function sees them, live and replayed, async and sync."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

import stepwell
from stepwell import StepError
from stepwell.testing import arun_function

CLIENT = stepwell.Client("errors")
tries: list[str] = []


def root_cause() -> None:
    raise KeyError("the key")


def wrapped() -> None:
    try:
        root_cause()
    except KeyError as error:
        raise ValueError("bad order") from error


def final() -> None:
    tries.append("final")
    raise stepwell.NonRetriableError("never")


def later() -> int:
    tries.append("later")
    if tries.count("later") < 3:
        raise stepwell.RetryAfterError("busy", timedelta(hours=1))
    return 7


def told(error: StepError) -> list[Any]:
    cause = error.cause
    assert error.__cause__ is cause
    return [error.name, error.message, cause and [cause.name, cause.message], "def wrapped" in (error.stack or "")]


async def catches(ctx: stepwell.Context) -> list[Any]:
    found: list[Any] = []
    for step in (wrapped, final):
        try:
            await ctx.step.run(step.__name__, step)
        except StepError as error:
            found.append(told(error))
    return [*found, await ctx.step.run("later", later)]


def catches_sync(ctx: stepwell.ContextSync) -> list[Any]:
    found: list[Any] = []
    for step in (wrapped, final):
        try:
            ctx.step.run(step.__name__, step)
        except StepError as error:
            found.append(told(error))
    return [*found, ctx.step.run("later", later)]


def declared(handler: Any, **options: Any) -> stepwell.Function[Any]:
    own: Any = stepwell.Client("errors").create_function(fn_id="f", trigger=stepwell.TriggerEvent("f"), **options)
    return own(handler)


@pytest.mark.parametrize("handler", [catches, catches_sync])
@pytest.mark.parametrize("replay", [False, True])
async def test_errors_are_caught_with_name_message_stack_and_cause(handler: Any, replay: bool) -> None:
    tries.clear()
    run = await arun_function(declared(handler, retries=2), always_replay=replay)
    value, never, seven = run.output
    assert value[:3] == ["ValueError", "bad order", ["KeyError", "'the key'"]]
    assert never[:3] == ["NonRetriableError", "never", None]
    assert seven == 7
    assert tries == ["final", "later", "later", "later"]
    assert [run.step(name).attempts for name in ("wrapped", "final", "later")] == [3, 1, 3]
    assert run.elapsed >= timedelta(hours=2)


async def uncaught(ctx: stepwell.Context) -> None:
    await ctx.step.run("wrapped", wrapped)


def uncaught_sync(ctx: stepwell.ContextSync) -> None:
    ctx.step.run("wrapped", wrapped)


@pytest.mark.parametrize("handler", [uncaught, uncaught_sync])
async def test_an_error_that_nobody_catches_is_the_runs_with_the_steps_own_traceback(handler: Any) -> None:
    run = await arun_function(declared(handler, retries=1))
    assert run.error is not None
    assert (run.error.name, run.error.message) == ("ValueError", "bad order")
    assert "in root_cause" in (run.error.stack or "")
    assert run.step("wrapped").attempts == 2  # and the function was not tried again because of it


async def raised_again(ctx: stepwell.Context) -> None:
    try:
        await ctx.step.run("wrapped", wrapped)
    except StepError as error:
        raise RuntimeError("gave up") from error


async def test_causes_of_causes_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    run = await arun_function(declared(raised_again, retries=0))
    assert run.error is not None
    assert run.error.cause is not None
    chain = bytes(run.error.cause)
    assert chain.index(b'"ValueError"') < chain.index(b'"KeyError"')


def endless() -> None:
    error = ValueError("again")
    error.__cause__ = error
    raise error


async def test_a_cause_that_goes_in_a_circle_ends() -> None:
    async def f(ctx: stepwell.Context) -> str:
        try:
            await ctx.step.run("endless", endless)
        except StepError as error:
            return error.message
        return ""

    assert (await arun_function(declared(f, retries=0))).output == "again"


class Shy(Exception):
    """One that has no message, or none that is a plain text."""

    def __init__(self, message: str | None) -> None:
        self.shown = message

    def __str__(self) -> str:
        if self.shown is None:
            raise RuntimeError("no")
        return self.shown


class Marked(str):
    """A text of a class of its own, as Markup of templates is."""

    __slots__ = ()


MESSAGES = {
    "no file caf\udce9.txt": "no file caf\\udce9.txt",
    Marked("<b>no</b>"): "<b>no</b>",
    None: "Shy, whose message can not be shown: RuntimeError",
}


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("where", ["in a step", "in the function"])
async def test_messages_that_are_no_plain_unicode(where: str, message: str | None) -> None:
    def fails() -> None:
        raise Shy(message)

    async def f(ctx: stepwell.Context) -> None:
        if where == "in a step":
            await ctx.step.run("fails", fails)
        call = ctx.step.run("never", fails)
        try:
            fails()
        finally:
            call.close()

    run = await arun_function(declared(f, retries=0))
    assert run.error is not None
    assert (run.error.name, run.error.message) == ("Shy", MESSAGES[message])
    stored = msgspec.json.encode(run.error)
    assert b"in fails" in stored
