"""An app and an upstream in one process that count what they see: ``python -m tests.clusters.counting_app`` and four ports.

These are the app's and the plain upstream's, that of the one with a limit in flight, with a rate, and of the one that says
429 once, or fails until ``GET /mend``. ``GET /seen`` tells all of it, by this process's clock alone.
"""

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import stepwell
from stepwell import Batch, Concurrency, Context, Debounce, RateLimit, Singleton, Throttle, TriggerCron, TriggerEvent
from stepwell.frameworks import asgi

PLAIN, NARROW, PACED, BUSY = sys.argv[1:5] if __name__ == "__main__" else ("1", "2", "3", "4")
HOLD_S = 0.3
BUSY_S = 6
"""For so long the busy host asks to be left alone."""
FAILURES = 6
"""So many requests to the host that fails are answered together; each of the others by itself."""
LATER_S = 3
"""When it says that each of them shall be sent again."""
client = stepwell.Client(app_id="counting")


class Seen(msgspec.Struct):
    """A stretch of time in which something was in flight: what, of which run, under which key. Seconds; ``numbers``: of the
    events."""

    what: str
    run: str
    key: str
    began: float
    ended: float = 0.0
    numbers: list[int] = []


SEEN: list[Seen] = []


@asynccontextmanager
async def seen(what: str, run: str, key: object, numbers: list[int] | None = None) -> AsyncIterator[None]:
    found = Seen(what, run, str(key), time.monotonic(), numbers=numbers or [])
    SEEN.append(found)
    try:
        yield
    finally:
        found.ended = time.monotonic()


async def work(
    what: str, ctx: Context, name: str = "work", hold_s: float = HOLD_S, until: asyncio.Event | None = None
) -> None:
    """A step of a run that takes a moment, or until something has happened."""
    numbers = [int(event.data.get("n", -1)) for event in ctx.events]

    async def hold() -> None:
        async with seen(what, ctx.run_id, ctx.event.data.get("key"), numbers):
            await (asyncio.sleep(hold_s) if until is None else until.wait())

    await ctx.step.run(name, hold)


def working(what: str, **options: Any) -> None:
    """A function of one step, started by events of its own name."""

    @client.create_function(fn_id=what, trigger=TriggerEvent(event=what), **options)
    async def function(ctx: Context) -> None:
        await work(what, ctx)


def waiting(what: str, **options: Any) -> None:
    """A function that works, waits until it is let go, and works again."""

    @client.create_function(fn_id=what, trigger=TriggerEvent(event=what), **options)
    async def function(ctx: Context) -> None:
        await work(f"{what}-before", ctx, "before")
        await ctx.step.wait_for_event("go", event="go", timeout="2m")
        await work(f"{what}-after", ctx, "after")


def fetching(what: str, port: str, many: int, **options: Any) -> None:
    """A function with requests, all at once."""

    @client.create_function(fn_id=what, trigger=TriggerEvent(event=what), **options)
    async def function(ctx: Context) -> None:
        base, key = f"http://127.0.0.1:{port}/{what}/{ctx.run_id}", ctx.event.data.get("key")
        await asyncio.gather(*(ctx.step.fetch(f"{base}/{key}", id=f"part {part}") for part in range(many)))


working("few", concurrency=3)
working("few-of-a-key", concurrency=Concurrency(limit=2, key="event.data.key"))
for name in ("one", "two"):
    working(f"of-the-account-{name}", concurrency=Concurrency(limit=3, key="'account'", scope="account"))
    working(f"of-the-environment-{name}", concurrency=Concurrency(limit=2, key="'environment'", scope="env"))
working("throttled", throttle=Throttle(limit=2, period="1s", key="event.data.key"))
working("limited", rate_limit=RateLimit(limit=3, period="12h", key="event.data.key"))
working("idempotent", idempotency="event.data.key")
working("sent-again")
working("calm", debounce=Debounce(period="2s", key="event.data.key"))
working("together", batch_events=Batch(max_size=5, timeout="3s", key="event.data.key"))
waiting("skipping", singleton=Singleton(mode="skip", key="event.data.key"))
waiting("taking", singleton=Singleton(mode="cancel", key="event.data.key"))
fetching("few-requests", PLAIN, 4, concurrency=2)
fetching("throttled-requests", PLAIN, 3, fetch_throttle=Throttle(limit=2, period="1s", burst=2, key="event.data.key"))
fetching("narrow-host", NARROW, 4)
fetching("paced-host", PACED, 3)


@client.create_function(fn_id="busy-host", trigger=TriggerEvent(event="busy-host"))
async def busy_host(ctx: Context) -> None:
    """Requests one after the other."""
    for part in range(12):
        await ctx.step.fetch(f"http://127.0.0.1:{BUSY}/busy-host/{ctx.run_id}/{part}", id=f"part {part}")


@client.create_function(fn_id="broken-host", trigger=TriggerEvent(event="broken-host"))
async def broken_host(ctx: Context) -> None:
    """One request, tried again however often it fails."""
    await ctx.step.fetch(f"http://127.0.0.1:{BUSY}/broken-host/{ctx.run_id}/0", id="part", retry=20)


@client.create_function(fn_id="whole-runs", trigger=TriggerEvent(event="whole-runs"), run_concurrency=2)
async def whole_runs(ctx: Context) -> None:
    await work("whole-runs", ctx, "begin", 0.02)
    await ctx.step.sleep("nap", "150ms")
    await work("whole-runs", ctx, "end", 0.02)


OPEN = asyncio.Event()


@client.create_function(
    fn_id="ranked",
    trigger=TriggerEvent(event="ranked"),
    concurrency=1,
    priority=stepwell.Priority(run="event.data.rank"),
)
async def ranked(ctx: Context) -> None:
    """The first one keeps the only slot until the gate is opened."""
    await work("ranked", ctx, until=OPEN if ctx.event.data["key"] == "first" else None)


@client.create_function(fn_id="ticking", trigger=TriggerCron(cron="* * * * *"))
async def ticking(ctx: Context) -> None:
    async with seen("ticking", ctx.run_id, ctx.event.data["scheduledAt"]):
        pass


async def requested(request: Request) -> Response:
    """An upstream's answer, which takes a moment."""
    what, run, key = (request.path_params[name] for name in ("what", "run", "key"))
    if what == "busy-host" and all(found.what != "complaint" for found in SEEN):
        async with seen("complaint", run, key):
            return Response(status_code=429, headers={"Retry-After": str(BUSY_S)})
    async with seen(what, run, key):
        await asyncio.sleep(HOLD_S)
    return Response("ok")


TOGETHER, MENDED = asyncio.Event(), asyncio.Event()


async def failed(request: Request) -> Response:
    """An answer of the host that fails, or is well again."""
    well = MENDED.is_set()
    async with seen("mended-host" if well else "broken-host", request.path_params["run"], "0"):
        if sum(found.what == "broken-host" for found in SEEN) >= FAILURES:
            TOGETHER.set()
        await asyncio.wait_for(TOGETHER.wait(), 40)
        await asyncio.sleep(HOLD_S)
    return Response("ok") if well else Response(status_code=503, headers={"Retry-After": str(LATER_S)})


async def mended(_: Request) -> Response:
    MENDED.set()
    return Response("ok")


async def tell(_: Request) -> Response:
    return Response(msgspec.json.encode(SEEN))


async def opened(_: Request) -> Response:
    OPEN.set()
    return Response("ok")


def main() -> None:
    """Serve on all ports until the process is ended."""
    routes = [
        Route("/seen", tell),
        Route("/open", opened),
        Route("/mend", mended),
        Route("/broken-host/{run}/{key}", failed),
        Route("/{what}/{run}/{key}", requested),
    ]
    served = asgi.serve(Starlette(routes=routes), client)
    server = uvicorn.Server(uvicorn.Config(served, log_level="warning", lifespan="off"))
    sockets = [socket.create_server(("127.0.0.1", int(port)), backlog=2048) for port in (PLAIN, NARROW, PACED, BUSY)]
    server.run(sockets=sockets)


if __name__ == "__main__":
    main()
