"""A body over the limit, then one at the limit, read part by part. Run by ``stepwell dev``."""

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
