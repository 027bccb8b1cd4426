"""Runs that wait: for an event of their own number, for a signal, or to be ended. Run by ``stepwell dev``."""

import stepwell

client = stepwell.Client(app_id="waits")


@client.create_function(fn_id="event", trigger=stepwell.TriggerEvent(event="event"))
async def event(ctx: stepwell.Context) -> object:
    found = await ctx.step.wait_for_event("w", event="paid", if_exp="async.data.n == event.data.n", timeout="1h")
    return None if found is None else found.data["n"]


@client.create_function(fn_id="signal", trigger=stepwell.TriggerEvent(event="signal"))
async def signal(ctx: stepwell.Context) -> object:
    found = await ctx.step.wait_for_signal("w", signal=f"s{ctx.event.data['n']}", timeout="1h")
    return None if found is None else found.data


@client.create_function(fn_id="end", trigger=stepwell.TriggerEvent(event="end"))
async def end(ctx: stepwell.Context) -> None:
    await ctx.step.sleep("s", "1h")
