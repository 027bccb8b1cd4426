"""Events and results as the types that users declare for them."""

import dataclasses
from datetime import UTC, datetime
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest

import stepwell
from stepwell import EventType, TriggerEvent
from stepwell.sdk.triggers import typed
from stepwell.testing import RunOutcome, arun_function

client = stepwell.Client("typed-events")


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    total: int
    at: datetime


class Struct(msgspec.Struct):
    total: int
    at: datetime


@dataclasses.dataclass
class Data:
    total: int
    at: datetime


class Plain(TypedDict):
    total: int
    at: datetime


WHEN = datetime(2030, 1, 2, 3, tzinfo=UTC)
GOOD = {"total": 3, "at": WHEN.isoformat()}
seen: list[Any] = []


def declared(trigger: Any, *, sync: bool) -> stepwell.Function[Any]:
    seen.clear()
    kinds: list[stepwell.Function[Any]] = []
    own = stepwell.Client("typed-events")
    declare: Any = own.create_function(fn_id="f", trigger=trigger, retries=3)

    async def handler(ctx: stepwell.Context[Any]) -> int:
        seen.append(ctx.event.data)
        return await ctx.step.run("count", lambda: len(ctx.events))

    def handler_sync(ctx: stepwell.ContextSync[Any]) -> int:
        seen.append(ctx.event.data)
        return ctx.step.run("count", lambda: len(ctx.events))

    kinds.append(declare(handler_sync if sync else handler))
    return kinds[0]


async def started(trigger: Any, data: Any, *, sync: bool = False, name: str = "order.placed") -> RunOutcome:
    return await arun_function(declared(trigger, sync=sync), event={"name": name, "data": data})


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("schema", [Model, Struct, Data, Plain])
async def test_data_is_what_the_trigger_says(schema: Any, sync: bool) -> None:
    for trigger in (TriggerEvent("order.placed", schema=schema), EventType("order.placed", schema)):
        run = await started(trigger, GOOD, sync=sync)
        assert run.output == 1
        assert seen[0] == schema(total=3, at=WHEN)


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("schema", [Model, Struct, Data, Plain])
async def test_data_that_does_not_fit_fails_the_run_at_once_and_says_where(schema: Any, sync: bool) -> None:
    run = await started(TriggerEvent("order.*", schema=schema), {"total": "three", "at": WHEN}, sync=sync)
    assert run.status == "failed"
    assert run.error is not None
    assert run.error.name == "EventDataError"
    for word in ("'order.placed'", schema.__name__, "total"):
        assert word in run.error.message
    assert seen == []
    assert run.elapsed.total_seconds() == 0  # it was not tried again


async def test_with_several_triggers_the_one_that_matches_counts() -> None:
    triggers = [EventType("order.placed", Struct), TriggerEvent("order.sent", schema=Data), TriggerEvent("order/*")]
    await started(triggers, GOOD)
    assert seen[0] == Struct(3, WHEN)
    await started(triggers, GOOD, name="order.sent")
    assert seen[0] == Data(3, WHEN)
    await started(triggers, GOOD, name="order/else")
    assert seen[0] == GOOD


def test_an_invocation_fits_any_of_the_triggers() -> None:
    class Strict(msgspec.Struct, forbid_unknown_fields=True):
        total: int
        at: datetime

    triggers = [TriggerEvent("order.placed", schema=Strict), TriggerEvent("order.sent", schema=Data)]
    invoked = stepwell.Event(name="inngest/function.invoked", data={**GOOD, "_inngest": {"fn_id": "f"}})
    assert typed(invoked, triggers).data == Strict(3, WHEN)
    other = stepwell.Event(name="inngest/function.invoked", data={**GOOD, "more": 1})
    assert typed(other, triggers).data == Data(3, WHEN)


@pytest.mark.parametrize("model", [Model(total=3, at=WHEN), Struct(3, WHEN), Data(3, WHEN)])
async def test_models_are_sent_as_json(model: Any) -> None:
    placed = EventType("order.placed", type(model))

    @client.create_function(fn_id=f"send {type(model).__name__}", trigger=[])
    async def f(ctx: stepwell.Context) -> list[str]:
        return await ctx.step.send_event("send", [placed(model, id="a"), {"name": "plain"}])

    run = await arun_function(f)
    assert isinstance(run.output, list)
    assert [(event.name, event.id) for event in run.events] == [("order.placed", "a"), ("plain", "")]
    assert run.events[0].data == {"total": 3, "at": "2030-01-02T03:00:00Z"}
