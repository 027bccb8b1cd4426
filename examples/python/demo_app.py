"""The examples, and one more for ``make demo``: an API that fails and rate-limits, and a charge that must not double."""

import stepwell
from example_client import SAMPLE_API, client
from process_files import process_files
from retrieve_text_file import retrieve_text_file
from weather_function import weather_function

__all__ = ["client", "flaky", "process_files", "retrieve_text_file", "weather_function"]


@client.create_function(fn_id="flaky-upstream", trigger=stepwell.TriggerEvent(event="demo.flaky"))
async def flaky(ctx: stepwell.Context) -> dict[str, object]:
    """The platform retries; this code is not called again for it."""
    key = ctx.run_id
    tried = (await ctx.step.fetch(f"{SAMPLE_API}/flaky/2", params={"key": key})).raise_for_status().json()
    await ctx.step.sleep("let it rest", "1s")
    await ctx.step.fetch(f"{SAMPLE_API}/rate-limited", params={"key": key})
    charge = (await ctx.step.fetch(f"{SAMPLE_API}/charge", method="POST", json={"amount": 42})).json()
    return {"tries": tried["tries"], "charge": charge["id"], "charged twice": charge["replayed"]}
