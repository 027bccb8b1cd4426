"""Functions of every kind that can be in flight while the platform is replaced; the same in every version."""

import stepwell
from stepwell import Context, TriggerEvent

client = stepwell.Client(app_id="old")
LATE_PORT = 20919
"""Where nobody listens when the fixture is made, and somebody does when it is opened."""
NAP = "4s"
"""Long enough to be in flight when the fixture is made; over when it is opened."""


@client.create_function(fn_id="child", trigger=TriggerEvent(event="child"))
async def child(ctx: Context) -> str:
    """Invoked by the one below."""
    await ctx.step.sleep("nap", NAP)
    return "child"


@client.create_function(fn_id="parent", trigger=TriggerEvent(event="parent"))
async def parent(ctx: Context) -> object:
    """Waits for a child."""
    return await ctx.step.invoke("ask", function=child, data={})


@client.create_function(fn_id="nap", trigger=TriggerEvent(event="nap"))
async def nap(ctx: Context) -> str:
    """Sleeps, with a recorded result."""
    first = await ctx.step.run("before", lambda: "recorded")
    await ctx.step.sleep("nap", NAP)
    return f"{first}, then {await ctx.step.run('after', lambda: 'awake')}"


@client.create_function(fn_id="wait", trigger=TriggerEvent(event="wait"))
async def wait(ctx: Context) -> str:
    """Waits for the event of its order."""
    found = await ctx.step.wait_for_event(
        "go", event="go", if_exp="event.data.order == async.data.order", timeout="3650d"
    )
    return "nobody came" if found is None else f"order {found.data['order']}"


@client.create_function(fn_id="single", trigger=TriggerEvent(event="single"), run_concurrency=1)
async def single(ctx: Context) -> str:
    """One run at a time: the next ones wait for the slot."""
    await ctx.step.sleep("nap", NAP)
    return "alone"


@client.create_function(fn_id="fetch", trigger=TriggerEvent(event="fetch"), retries=20)
async def fetch(ctx: Context) -> int:
    """Is between two attempts: the upstream comes later."""
    return (await ctx.step.fetch(f"http://127.0.0.1:{LATE_PORT}/late", id="get")).status_code


@client.create_function(
    fn_id="gathered", trigger=TriggerEvent(event="gathered"), debounce=stepwell.Debounce(period="5s")
)
async def gathered(ctx: Context) -> object:
    """Waits for the last of several events."""
    return ctx.event.data["n"]


EVENTS: list[tuple[str, dict[str, object]]] = [
    ("parent", {}),
    ("nap", {}),
    ("wait", {"order": 7}),
    ("wait", {"order": 8}),
    ("single", {}),
    ("single", {}),
    ("fetch", {}),
    ("gathered", {"n": 1}),
    ("gathered", {"n": 2}),
]
"""What the fixture begins with."""
OUTPUTS: dict[str, list[object]] = {
    "old-parent": ["child"],
    "old-child": ["child"],
    "old-nap": ["recorded, then awake"],
    "old-wait": ["order 7", "order 8"],
    "old-single": ["alone", "alone"],
    "old-fetch": [200],
    "old-gathered": [2],
}
"""What the runs come to, by function."""
