"""What type checkers have to refuse: each line that is wrong says by which rule."""

import msgspec
import pydantic

import stepwell
from stepwell import Context, ContextSync, EventType, TriggerEvent

client = stepwell.Client("typed")


class Order(pydantic.BaseModel):
    total: int


class Refund(msgspec.Struct):
    reason: str


placed = EventType("shop/order.placed", Order)


def number(of: int) -> int:
    return of


@client.create_function(fn_id="fields", trigger=placed)
async def fields(ctx: Context[Order]) -> str:
    assert ctx.event.data.totl  # error: reportAttributeAccessIssue
    text: str = ctx.event.data.total  # error: reportAssignmentType
    result: str = await ctx.step.run("a", number, 1)  # error: reportAssignmentType
    await ctx.step.run("b", number, "1")  # error: reportArgumentType
    await ctx.step.run("c", number)  # error: reportArgumentType
    decoded: int = await ctx.step.run("d", number, 1, output_type=Order)  # error: reportAssignmentType
    other: int = await ctx.step.invoke("e", function=fields)  # error: reportAssignmentType
    event = await ctx.step.wait_for_event("f", event=placed, timeout="1h")
    assert event.data  # error: reportOptionalMemberAccess
    if event is not None:
        assert event.data.totl  # error: reportAttributeAccessIssue
    ctx.step.sleep("g", "1s")  # error: reportUnusedCoroutine
    await ctx.step.send_event("h", placed(Refund("x")))  # error: reportArgumentType
    return f"{text}{result}{decoded}{other}"


@client.create_function(fn_id="wrong", trigger=placed)  # error: reportArgumentType, reportCallIssue
async def wrong(ctx: Context[Refund]) -> str:
    return ctx.event.data.reason


@client.create_function(fn_id="sync", trigger=TriggerEvent(event="x", schema=Refund))
def sync(ctx: ContextSync[Refund]) -> int:
    nothing: str = ctx.step.sleep("a", "1s")  # error: reportAssignmentType
    text: str = ctx.step.run("b", number, 1)  # error: reportAssignmentType
    assert ctx.event.data.reasn  # error: reportAttributeAccessIssue
    return len(nothing + text)
