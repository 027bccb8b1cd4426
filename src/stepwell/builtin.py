"""The functions that every development platform hosts by itself: the one behind ``stepwell fetch``."""

import base64
from typing import Any, cast

from stepwell import Client, Context, Retry, TriggerEvent
from stepwell.wire.builtins import FETCH_EVENT

ATTEMPTS = 20
"""Tries of a request when the command line says nothing else."""

client = Client(app_id="stepwell-cli")


@client.create_function(fn_id="fetch", trigger=TriggerEvent(event=FETCH_EVENT), retries=3)
async def fetch(ctx: Context) -> dict[str, object]:
    """Make the request that the event describes; its status and final URL (the body stays with the step)."""
    data = cast("dict[str, Any]", ctx.event.data)
    timeout, deadline = data.get("timeout_ms"), data.get("deadline_ms")
    response = await ctx.step.fetch(
        data["url"],
        method=data.get("method", "GET"),
        headers=[(name, value) for name, value in data.get("headers", [])],
        content=base64.b64decode(data["body"]) if data.get("body") is not None else None,
        id="request",
        retry=Retry(attempts=data.get("attempts", ATTEMPTS)),
        **({"timeout": timeout / 1000} if timeout else {}),
        **({"deadline": deadline / 1000} if deadline else {}),
    )
    return {"status": response.status_code, "url": str(response.url)}
