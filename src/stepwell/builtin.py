"""The functions that every development platform hosts by itself: the one behind ``stepwell fetch``."""

import base64
from typing import Any

from stepwell import Client, Context, Retry, TriggerEvent
from stepwell.sdk.fetching import FetchOptions
from stepwell.wire.builtins import FETCH_EVENT

ATTEMPTS = 20
"""Tries of a request when the command line says nothing else."""

client = Client(app_id="stepwell-cli")


@client.create_function(fn_id="fetch", trigger=TriggerEvent(event=FETCH_EVENT), retries=3)
async def fetch(ctx: Context) -> dict[str, object]:
    """Make the request that the event describes; its status and final URL, without a query, which may hold secrets.

    The body stays with the step.
    """
    data = ctx.event.data
    response = await ctx.step.fetch(data["url"], **_options(data))
    return {"status": response.status_code, "url": str(response.url.copy_with(query=None, fragment=None))}


def _options(data: dict[str, Any]) -> FetchOptions:
    options = FetchOptions(
        method=data.get("method", "GET"),
        headers=[(name, value) for name, value in data.get("headers", [])],
        id="request",
        retry=Retry(attempts=data.get("attempts", ATTEMPTS)),
        stream=True,
    )
    if data.get("body") is not None:
        options["content"] = base64.b64decode(data["body"])
    if data.get("max_body"):
        options["max_body"] = data["max_body"]
    if data.get("timeout_ms"):
        options["timeout"] = data["timeout_ms"] / 1000
    if data.get("deadline_ms"):
        options["deadline"] = data["deadline_ms"] / 1000
    return options
