"""Runs that are throttled and hold slots: each has a request, a sleep and another request. Run by ``stepwell dev``."""

import os

import stepwell

UPSTREAM = os.environ["UPSTREAM"]
client = stepwell.Client(app_id="starts")


@client.create_function(
    fn_id="starts",
    trigger=stepwell.TriggerEvent(event="starts"),
    run_concurrency=2,
    throttle=stepwell.Throttle(limit=10, period="1s"),
)
async def starts(ctx: stepwell.Context) -> int:
    """How many requests it has made."""
    for part in (0, 1):
        body = {"run": ctx.run_id, "part": part}
        await ctx.step.fetch(f"{UPSTREAM}/charge", method="POST", json=body, id=f"charge {part}")
        if part == 0:
            await ctx.step.sleep("nap", "30ms")
    return 2
