"""Hands every failed run on to a log intake, durably: the intake may be away for a while."""

import os

import stepwell

client = stepwell.Client(app_id="failures")
INTAKE = os.environ.get("LOG_INTAKE", "http://127.0.0.1:9428/insert/jsonline")


@client.create_function(fn_id="forward-failures", trigger=stepwell.TriggerEvent(event="inngest/function.failed"))
async def forward_failures(ctx: stepwell.Context) -> int:
    """One record for each failed run. The key in it stays the same, should the intake get it twice."""
    failed = ctx.event.data
    error = failed["error"]
    record = {
        "level": "error",
        "message": f"{failed['function_id']} failed: {error['message']}",
        "error": error["name"],
        "function": failed["function_id"],
        "run_id": failed["run_id"],
        "ts": ctx.event.ts,
    }
    answer = await ctx.step.fetch(INTAKE, method="POST", json=record)
    return answer.raise_for_status().status_code
