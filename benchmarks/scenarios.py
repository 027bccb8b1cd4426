"""The scenarios: each takes a fresh platform and returns figures of one round."""

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp

import stepwell
from benchmarks import storage
from stepwell.embed import Embedded, embedded

client = stepwell.Client(app_id="bench")
_WAIT_S = 120.0
HTTP_FUNCTIONS = ("bench-fetch", "bench-step", "bench-sequence", "bench-wait")
"""Of the app that the peer is."""


@client.create_function(fn_id="one-step", trigger=stepwell.TriggerEvent(event="one-step"))
async def one_step(ctx: stepwell.Context) -> int:
    return await ctx.step.run("a", _nothing)


@client.create_function(fn_id="sequence", trigger=stepwell.TriggerEvent(event="sequence"))
async def sequence(ctx: stepwell.Context) -> int:
    for _ in range(int(str(ctx.event.data["steps"]))):
        await ctx.step.run("a", _nothing)
    return 1


@client.create_function(fn_id="parallel", trigger=stepwell.TriggerEvent(event="parallel"))
async def parallel(ctx: stepwell.Context) -> int:
    url = str(ctx.event.data["url"])
    found = await asyncio.gather(*(ctx.step.fetch(url) for _ in range(300)))
    return sum(len(response.content) for response in found)


async def _nothing() -> int:
    return 1


@asynccontextmanager
async def fresh() -> AsyncGenerator[Embedded]:
    """A platform on a new database of the store that is measured."""
    async with storage.database() as url, embedded(client, db=url) as platform:
        yield platform


async def one_step_runs(peer: str, total: int = 1_500, at_once: int = 50) -> float:
    """Runs of one step a second."""
    return await _runs("one-step", {}, total, at_once)


async def sequential(peer: str, steps: int) -> float:
    """Steps of one run a second."""
    async with fresh() as platform:
        await _once(platform, "sequence", {"steps": 5})
        return steps / await _once(platform, "sequence", {"steps": steps})


async def parallel_fetches(peer: str) -> float:
    """Fetches a second, 300 in one run."""
    async with fresh() as platform:
        await _once(platform, "parallel", {"url": f"{peer}/up"})
        return 300 / await _once(platform, "parallel", {"url": f"{peer}/up"})


async def plain_fetches(peer: str) -> float:
    """The same 300 requests by the plain client, 300 at once."""

    async def one(session: aiohttp.ClientSession) -> None:
        async with session.get(f"{peer}/up") as response:
            await response.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(one(session) for _ in range(300)))
        began = time.perf_counter()
        await asyncio.gather(*(one(session) for _ in range(300)))
        return 300 / (time.perf_counter() - began)


async def latency(peer: str) -> float:
    """Milliseconds from event to run done, the median of 100, in process."""
    async with fresh() as platform:
        times = [await _once(platform, "one-step", {}) for _ in range(120)]
        return statistics.median(times[20:]) * 1000


async def http_fetch_runs(peer: str, total: int = 600, at_once: int = 50) -> float:
    """Runs of one fetch a second, the function behind HTTP."""
    return await _runs("bench-fetch", {"url": f"{peer}/up"}, total, at_once, peer)


async def http_one_step_runs(peer: str, total: int = 1_500, at_once: int = 50) -> float:
    """Runs of one step a second, the function behind HTTP: two calls of the app each."""
    return await _runs("bench-step", {}, total, at_once, peer)


async def http_sequential(peer: str) -> float:
    """Steps a second of one run of 300, the function behind HTTP, no checkpointing."""
    async with fresh() as platform:
        await _http(platform, peer)
        return 300 / await _once(platform, "bench-sequence", {})


async def http_latency(peer: str) -> float:
    """Milliseconds from event to run done, one fetch, the median of 60, the function behind HTTP."""
    async with fresh() as platform:
        await _http(platform, peer)
        times = [await _once(platform, "bench-fetch", {"url": f"{peer}/up"}) for _ in range(70)]
        return statistics.median(times[10:]) * 1000


async def _runs(name: str, data: dict[str, object], total: int, at_once: int, http: str | None = None) -> float:
    async with fresh() as platform:
        if http is not None:
            await _http(platform, http)
        left = iter(range(total))

        async def worker() -> None:
            for _ in left:
                await _once(platform, name, data)

        await _once(platform, name, data)
        began = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(at_once)))
        return total / (time.perf_counter() - began)


async def _http(platform: Embedded, peer: str) -> None:
    await platform.sync("bench-http", f"{peer}/fn", [http_function(name, peer) for name in HTTP_FUNCTIONS])


def http_function(name: str, peer: str) -> dict[str, object]:
    """How a function of the peer registers."""
    runtime = {"type": "http", "url": f"{peer}/fn?fnId={name}&stepId=step"}
    steps = {"step": {"id": "step", "name": "step", "runtime": runtime}}
    return {"id": name, "name": name, "triggers": [{"event": name}], "steps": steps}


async def _once(platform: Embedded, name: str, data: dict[str, object]) -> float:
    began = time.perf_counter()
    found = await platform.send_and_wait(name, data, timeout=_WAIT_S)
    took = time.perf_counter() - began
    if [result.status for result in found] != ["completed"]:
        raise RuntimeError(f"the run of {name} did not complete: {found}")
    return took
