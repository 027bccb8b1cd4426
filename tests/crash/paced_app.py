"""A function for each kind of pace: each makes the one request that its event names. Run by ``stepwell dev``."""

import stepwell

client = stepwell.Client(app_id="paced")


@client.create_function(fn_id="free", trigger=stepwell.TriggerEvent(event="free"))
async def free(ctx: stepwell.Context) -> int:
    """Paced by its host alone."""
    return (await ctx.step.fetch(ctx.event.data["url"], id="ask")).status_code


@client.create_function(
    fn_id="throttled",
    trigger=stepwell.TriggerEvent(event="throttled"),
    fetch_throttle=stepwell.Throttle(limit=1, period="1h"),
)
async def throttled(ctx: stepwell.Context) -> int:
    """One request an hour, over all runs."""
    return (await ctx.step.fetch(ctx.event.data["url"], id="ask")).status_code
