"""The demo load: each run has a fetch, a sleep, three parallel fetches and a step. Run by ``stepwell dev``."""

import asyncio
import os

import stepwell

UPSTREAM = os.environ["UPSTREAM"]
client = stepwell.Client(app_id="load")


@client.create_function(fn_id="load", trigger=stepwell.TriggerEvent(event="load"))
async def load(ctx: stepwell.Context) -> list[int]:
    """The serial numbers that the upstream gave out."""

    async def charge(part: int) -> int:
        body = {"run": ctx.run_id, "part": part}
        response = await ctx.step.fetch(f"{UPSTREAM}/charge", method="POST", json=body, id=f"charge {part}")
        return int(response.raise_for_status().json()["serial"])

    first = await charge(0)
    await ctx.step.sleep("nap", "100ms")
    rest = await asyncio.gather(*(charge(part) for part in (1, 2, 3)))
    return await ctx.step.run("collect", lambda: [first, *rest])
