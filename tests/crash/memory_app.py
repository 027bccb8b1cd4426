"""A body over the limit, then one at the limit, read part by part; and many large ones at once. Run by ``stepwell dev``."""

import asyncio
import os

import stepwell

UPSTREAM = os.environ["UPSTREAM"]
client = stepwell.Client(app_id="load")


@client.create_function(fn_id="load", trigger=stepwell.TriggerEvent(event="load"))
async def load(ctx: stepwell.Context) -> list[object]:
    """How the first ended, and the size of the second."""
    kind = ""
    try:
        await ctx.step.fetch(UPSTREAM, id="endless")
    except stepwell.FetchError as error:
        kind = error.kind
    response = await ctx.step.fetch(UPSTREAM, stream=True, id="large")
    return [kind, sum([len(chunk) async for chunk in response.aiter_bytes()])]


@client.create_function(fn_id="many", trigger=stepwell.TriggerEvent(event="many"))
async def many(ctx: stepwell.Context) -> list[int]:
    """The sizes of bodies that arrive at the same time, and are not read here."""
    wanted = range(int(ctx.event.data["many"]))
    found = await asyncio.gather(*(ctx.step.fetch(UPSTREAM, stream=True, id=f"body {n}") for n in wanted))
    return [int(response.headers["content-length"]) for response in found]
