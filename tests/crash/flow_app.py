"""Functions that wait for more events. Run by ``stepwell dev``."""

import stepwell

client = stepwell.Client(app_id="flow")


@client.create_function(
    fn_id="batch",
    trigger=stepwell.TriggerEvent(event="batch"),
    batch_events=stepwell.Batch(max_size=7, timeout="3s"),
)
async def batch(ctx: stepwell.Context) -> list[int]:
    return [int(event.data["n"]) for event in ctx.events]


@client.create_function(
    fn_id="calm",
    trigger=stepwell.TriggerEvent(event="calm"),
    debounce=stepwell.Debounce(period="2s", key="event.data.n % 5.0"),
)
async def calm(ctx: stepwell.Context) -> list[int]:
    return [int(event.data["n"]) for event in ctx.events]
