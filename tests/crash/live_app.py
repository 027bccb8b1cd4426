"""A function that asks a slow upstream, publishes, and ends, behind HTTP: ``python -m tests.crash.live_app PORT``."""

import os
import sys

import uvicorn

import stepwell
from stepwell.frameworks import asgi

client = stepwell.Client(app_id="load")


@client.create_function(fn_id="load", trigger=stepwell.TriggerEvent(event="live"))
async def live(ctx: stepwell.Context) -> int:
    response = await ctx.step.fetch(os.environ["UPSTREAM"], id="request")
    await ctx.step.publish(channel="c", topic="progress", data={"size": len(response.content)})
    return len(response.content)


if __name__ == "__main__":
    uvicorn.run(asgi.serve(None, client), port=int(sys.argv[1]), log_level="warning", lifespan="off")
