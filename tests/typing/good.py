"""What type checkers have to take without a complaint; ``reveal_type`` comments are compared with what they say."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypedDict, assert_type

import msgspec
import pydantic

import stepwell
from stepwell import Context, ContextSync, Event, EventType, Step, StepSync, TriggerEvent

client = stepwell.Client("typed")


class Order(pydantic.BaseModel):
    total: int


class Refund(msgspec.Struct):
    reason: str


class Paid(TypedDict):
    cents: int


@dataclasses.dataclass
class Receipt:
    number: str


placed = EventType("shop/order.placed", Order)
paid = EventType("shop/order.paid", Paid)


def receipt(total: int) -> Receipt:
    return Receipt(str(total))


async def receipt_async(total: int) -> Receipt:
    return Receipt(str(total))


def anything() -> Any:
    return {"number": "1"}


@client.create_function(fn_id="typed", trigger=placed)
async def typed(ctx: Context[Order]) -> Receipt:
    assert_type(ctx.event, Event[Order])
    assert_type(ctx.event.data.total, int)
    assert_type([event.data for event in ctx.events], list[Order])
    assert_type(await ctx.step.run("a", receipt, 1), Receipt)
    assert_type(await ctx.step.run("b", receipt_async, 1), Receipt)
    assert_type(await ctx.step.run("c", lambda: 1), int)
    assert_type(await ctx.step.run("d", anything, output_type=Receipt), Receipt)
    event = await ctx.step.wait_for_event("paid", event=paid, timeout="1h")
    if event is not None:
        assert_type(event.data["cents"], int)
    untyped = await ctx.step.wait_for_event("any", event="shop/any", timeout="1h")
    if untyped is not None:
        assert_type(untyped.data, dict[str, Any])
    assert_type(await ctx.step.invoke("sync", function=typed_sync, data={"reason": "x"}), str)
    assert_type(await ctx.step.invoke("model", function=typed_sync, data=Refund("x")), str)
    await ctx.step.send_event("one", placed(Order(total=1), id="first"))
    await ctx.step.send_event("two", [placed(Order(total=1)), Event(name="x", data={"a": 1})])
    return await ctx.step.run("e", receipt, ctx.event.data.total)


@client.create_function(fn_id="typed-sync", trigger=TriggerEvent(event="shop/refund", schema=Refund))
def typed_sync(ctx: ContextSync[Refund], step: StepSync) -> str:
    assert_type(ctx.event.data.reason, str)
    assert_type(step.run("a", receipt, 1), Receipt)
    assert_type(step.run("b", anything, output_type=Receipt), Receipt)
    assert_type(step.invoke("typed", function=typed, data={"total": 1}), Receipt)
    event = step.wait_for_event("paid", event=paid, timeout="1h")
    return ctx.event.data.reason if event is None else str(event.data["cents"])


@client.create_function(fn_id="either", trigger=[placed, TriggerEvent(event="shop/refund", schema=Refund)])
async def either(ctx: Context[Order | Refund], step: Step) -> None:
    assert_type(ctx.event.data, Order | Refund)
    await step.sleep("nap", "1s")


@client.create_function(fn_id="plain", trigger=TriggerEvent(event="shop/*"), on_failure=typed.handler)
async def plain(ctx: Context) -> dict[str, Any]:
    assert_type(ctx.event.data, dict[str, Any])
    return ctx.event.data


@client.create_function(fn_id="invoked", trigger=[])
def invoked(ctx: ContextSync) -> Mapping[str, Any]:
    return ctx.event.data


async def send() -> None:
    assert_type(await client.send(placed(Order(total=1))), list[str])
    await client.send([{"name": "x"}, Event(name="y"), paid({"cents": 1})])
