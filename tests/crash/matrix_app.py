"""The functions of the kill matrix. Everything that they do is counted by the upstream that their event names."""

import asyncio
import hashlib

import stepwell

LIMIT = 2
client = stepwell.Client(app_id="matrix")


@client.create_function(
    fn_id="work",
    trigger=stepwell.TriggerEvent(event="work"),
    concurrency=LIMIT,
    retries=20,
)
async def work(ctx: stepwell.Context) -> list[object]:
    """A step of every kind; the serial numbers that the upstream gave out."""
    upstream = ctx.event.data["upstream"]

    async def charge(part: str, **more: object) -> int:
        body = {"run": ctx.run_id, "part": part}
        response = await ctx.step.fetch(f"{upstream}/charge", method="POST", json=body, id=f"charge {part}", **more)
        return int(response.raise_for_status().json()["serial"])

    async def effect() -> int:
        body = {"run": ctx.run_id}
        return (await stepwell.fetch(f"{upstream}/effect", method="POST", json=body)).json()["serial"]

    first = await charge("0")
    await ctx.step.sleep("nap", "50ms")
    missed = await ctx.step.wait_for_event("never", event="never", timeout="50ms")
    rest = await asyncio.gather(*(charge(part) for part in ("1", "2", "flaky")))
    done = await ctx.step.run("effect", effect)
    try:
        once: object = await charge("once", at_most_once=True)
    except stepwell.FetchError as error:
        once = error.kind
    return [first, missed, *rest, done, once]


@client.create_function(fn_id="load", trigger=stepwell.TriggerEvent(event="load"), retries=20)
async def load(ctx: stepwell.Context) -> str:
    """The digest of a large response that arrives slowly."""
    response = await ctx.step.fetch(f"{ctx.event.data['upstream']}/body", stream=True, id="body")
    found = hashlib.sha256()
    async for chunk in response.aiter_bytes():
        found.update(chunk)
    return found.hexdigest()


@client.create_function(fn_id="stall", trigger=stepwell.TriggerEvent(event="stall"), retries=20)
async def stall(ctx: stepwell.Context) -> int:
    """A charge at an upstream that may not answer in time."""
    body = {"run": ctx.run_id, "part": "stalled"}
    upstream = ctx.event.data["upstream"]
    response = await ctx.step.fetch(f"{upstream}/charge", method="POST", json=body, id="charge stalled", timeout=1)
    return int(response.json()["serial"])
