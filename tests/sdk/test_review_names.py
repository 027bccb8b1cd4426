"""Moving over from the protocol's official Python SDK is a change of imports: the names and meanings of what both have."""

import importlib
import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import inngest
import pytest

import stepwell
from stepwell.sdk import failures
from tests.sdk.fake_engine import Engine


def names(function: Callable[..., Any]) -> list[str]:
    return [each for each in inspect.signature(function).parameters if each != "self"]


@pytest.mark.parametrize("method", ["run", "sleep", "sleep_until", "send_event"])
@pytest.mark.parametrize(("ours", "theirs"), [(stepwell.Step, inngest.Step), (stepwell.StepSync, inngest.StepSync)])
def test_step_methods(ours: Any, theirs: Any, method: str) -> None:
    assert names(getattr(ours, method)) == names(getattr(theirs, method))


def test_what_both_have_is_spelt_alike() -> None:
    beyond = {"fetch_throttle", "run_concurrency", "on_cancel"}
    assert set(names(stepwell.Client.create_function)) - beyond <= set(names(inngest.Inngest.create_function))
    assert set(names(stepwell.Client)) <= set(names(inngest.Inngest))
    assert names(stepwell.NonRetriableError) == names(inngest.NonRetriableError)
    assert names(stepwell.RetryAfterError) == names(inngest.RetryAfterError)
    assert names(stepwell.StepError)[:3] == names(inngest.StepError)
    assert set(inngest.TriggerEvent.model_fields) | {"schema"} == set(names(stepwell.TriggerEvent))
    for name in ("Concurrency", "Priority", "Throttle", "Timeouts", "TriggerCron"):
        assert set(getattr(inngest, name).model_fields) == set(names(getattr(stepwell, name)))
    assert set(inngest.Event.model_fields) <= set(names(stepwell.Event))


def test_the_same_arguments_make_an_adapter_and_ask_a_model() -> None:
    for name in ("openai", "anthropic", "gemini", "grok", "deepseek"):
        theirs: Any = importlib.import_module(f"inngest.experimental.ai.{name}").Adapter
        ours: Any = {each.lower(): getattr(stepwell.ai, each) for each in stepwell.ai.__all__}[name]
        assert set(names(ours)) == set(names(theirs))
        given = {"auth_key": "k", "model": "m", "base_url": "http://h/v1/", "headers": {"anthropic-version": "1"}}
        made = [kind(**given) for kind in (ours, theirs)]
        bodies: list[dict[str, Any]] = [{}, {}]
        for adapter, body in zip(made, bodies, strict=True):
            adapter.on_call(body)
        shown = [(each.auth_key(), each.format(), each.headers()) for each in made]
        assert shown[0] == shown[1]
        assert made[0].url_infer() == made[1].url_infer().partition("?")[0]  # the platform adds Gemini's key
        if name != "gemini":
            assert bodies[0] == bodies[1]
    assert names(stepwell.ai.AI.infer) == ["step_id", "adapter", "body"]


@pytest.mark.parametrize(
    ("duration", "shown"),
    [(1500, "1500ms"), (60_000, "1m"), (timedelta(minutes=1), "1m"), ("1h", "1h"), (0, "0s")],
)
async def test_a_bare_whole_number_is_milliseconds(duration: Any, shown: str) -> None:
    async def f(ctx: Any) -> None:
        await ctx.step.sleep("nap", duration)

    def g(ctx: Any) -> None:
        ctx.step.sleep("nap", duration)

    for function in (f, g):
        engine = Engine(function)
        assert [op.name for op in (await engine.call()).ops] == [shown]
        await engine.executor.close()


@pytest.mark.parametrize("duration", [1.5, True, None, -1, "soon"])
async def test_a_sleep_that_is_none_is_a_clear_error(duration: Any) -> None:
    async def f(ctx: Any) -> None:
        await ctx.step.sleep("nap", duration)

    engine = Engine(f)
    answer = await engine.call()
    assert answer.error is not None
    assert answer.error.name in {"TypeError", "ValueError"}
    assert "unit" in answer.error.message or "duration" in answer.error.message
    await engine.executor.close()


@pytest.mark.parametrize(
    ("after", "shown"),
    [
        (2500, "3"),
        (timedelta(seconds=90), "90"),
        (datetime(2030, 1, 2, tzinfo=UTC), "2030-01-02T00:00:00.000Z"),
    ],
)
def test_retry_after(after: Any, shown: str) -> None:
    assert failures.retry_after(stepwell.RetryAfterError("busy", after, quiet=True)) == shown


def test_retry_after_of_a_fraction_is_a_clear_error() -> None:
    with pytest.raises(TypeError, match="say the unit"):
        stepwell.RetryAfterError("busy", 1.5)  # type: ignore[arg-type]


async def no_argument() -> None: ...


async def fine(ctx: Any) -> None: ...


@pytest.mark.parametrize(
    ("handler", "options", "message"),
    [
        (no_argument, {}, r"takes no argument: declare it as no_argument\(ctx\)"),
        (fine, {"trigger": None}, "needs a trigger"),
        (fine, {"trigger": "order"}, "needs a trigger"),
        (fine, {"concurrency": 0}, "1 is the least"),
        (fine, {"fn_id": ""}, "needs a fn_id"),
        (fine, {"retries": 21}, "0 to 20"),
    ],
)
def test_declarations_that_can_not_work(handler: Any, options: dict[str, Any], message: str) -> None:
    declared = {"fn_id": "f", "trigger": stepwell.TriggerEvent(event="e"), **options}
    with pytest.raises(stepwell.ConfigError, match=message):
        stepwell.Client("app").create_function(**declared)(handler)


async def test_send_sync_where_a_loop_runs_is_a_clear_error() -> None:
    with pytest.raises(stepwell.SendEventsError, match=r"await client\.send"):
        stepwell.Client("app").send_sync(stepwell.Event(name="e"))
