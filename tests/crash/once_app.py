"""Charges at an upstream that honours no idempotency key, so each may be sent once at most. Run by ``stepwell dev``."""

import os

import stepwell

UPSTREAM = os.environ["UPSTREAM"]
client = stepwell.Client(app_id="once")


@client.create_function(fn_id="once", trigger=stepwell.TriggerEvent(event="once"), retries=3)
async def once(ctx: stepwell.Context) -> str:
    """Whether the charge is known to have been made."""
    body = {"run": ctx.run_id, "part": 0}
    try:
        response = await ctx.step.fetch(
            f"{UPSTREAM}/charge", method="POST", json=body, at_most_once=True, id="charge 0", idempotency_key=ctx.run_id
        )
    except stepwell.FetchError as error:
        return error.kind
    return "charged" if response.status_code == 200 else "refused"
