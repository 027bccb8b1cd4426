"""One large download, whole and read part by part. Run by ``stepwell dev``."""

import hashlib
import os

import stepwell

UPSTREAM = os.environ["UPSTREAM"]
client = stepwell.Client(app_id="load")


@client.create_function(fn_id="load", trigger=stepwell.TriggerEvent(event="load"))
async def load(ctx: stepwell.Context) -> list[str]:
    """The digest of the body, twice."""
    response = await ctx.step.fetch(UPSTREAM, stream=True, id="large")
    found = hashlib.sha256()
    async for chunk in response.aiter_bytes():
        found.update(chunk)
    again = await ctx.step.run("again", found.hexdigest)
    return [found.hexdigest(), again]
