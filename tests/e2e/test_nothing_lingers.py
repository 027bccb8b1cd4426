"""What a run has held is freed when it ends, and not whenever Python's collector comes by: bodies can be large."""

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

import stepwell
from stepwell.embed import Embedded, embedded
from stepwell.transports.httpx2 import AsyncDurableTransport

client = stepwell.Client(app_id="lingers")
alive: "weakref.WeakSet[Held]" = weakref.WeakSet()


class Held:
    """Stands for a body that a function keeps in a variable."""

    def __init__(self) -> None:
        alive.add(self)


def _function(fn_id: str, **more: Any) -> Any:
    return client.create_function(fn_id=fn_id, trigger=stepwell.TriggerEvent(event=fn_id), retries=0, **more)


async def until_freed() -> None:
    async with asyncio.timeout(30):
        while alive:
            await asyncio.sleep(0.001)


async def _one() -> int:
    return 1


@_function("steps")
async def steps(ctx: stepwell.Context) -> int:
    held = [Held()]
    for _ in range(3):
        held.append(Held())
        await ctx.step.run("a", _one)
    return len(held)


@_function("parallel")
async def parallel(ctx: stepwell.Context) -> int:
    held = Held()

    async def one(number: int) -> Held:
        mine = Held()
        await ctx.step.sleep(f"s{number}", 1)
        return mine

    await asyncio.gather(*(one(number) for number in range(5)))
    async with asyncio.TaskGroup() as group:
        for number in range(5, 10):
            group.create_task(one(number))
    return id(held)


@_function("fails")
async def fails(ctx: stepwell.Context) -> int:
    held = Held()
    await ctx.step.run("a", _one)
    raise ValueError(f"after {held}")


@_function("step-fails")
async def step_fails(ctx: stepwell.Context) -> None:
    held = Held()

    async def broken() -> int:
        raise ValueError(str(held))

    await ctx.step.run("broken", broken)


@_function("sync-step-fails")
def sync_step_fails(ctx: stepwell.ContextSync) -> None:
    held = Held()

    def broken() -> int:
        raise ValueError(str(held))

    ctx.step.run("broken", broken)


@_function("fetch-fails")
async def fetch_fails(ctx: stepwell.Context) -> int:
    held = Held()
    found = await asyncio.gather(
        *(ctx.step.fetch("http://127.0.0.1:1/", retry=1) for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(one, stepwell.FetchError) for one in found)
    return id(held)


@_function("read-along")
async def read_along(ctx: stepwell.Context) -> int:
    held = Held()
    try:
        await ctx.step.fetch("http://127.0.0.1:1/", retry=1, stream=True)
    except stepwell.FetchError:
        return id(held)
    return 0


@_function("timers")
async def timers(ctx: stepwell.Context) -> int:
    held = Held()
    await asyncio.sleep(1.01)
    try:
        async with asyncio.timeout(1.2):
            await ctx.step.wait_for_event("never", event="never", timeout="1h")
    except TimeoutError:
        pass
    return id(held)


@_function("loser")
async def loser(ctx: stepwell.Context) -> int:
    held = Held()
    first = asyncio.create_task(ctx.step.sleep("long", "1h"))
    await asyncio.wait([first, asyncio.create_task(ctx.step.sleep("short", 1))], return_when=asyncio.FIRST_COMPLETED)
    first.cancel()
    return id(held)


@_function("sync")
def sync(ctx: stepwell.ContextSync) -> int:
    held = Held()
    for number in range(3):
        ctx.step.run(f"s{number}", int)
    return id(held)


@_function("sync-parallel")
def sync_parallel(ctx: stepwell.ContextSync) -> int:
    held = Held()
    ctx.group.parallel((lambda: ctx.step.run("a", int), lambda: ctx.step.sleep("b", 1)))
    return id(held)


@_function("sync-fails")
def sync_fails(ctx: stepwell.ContextSync) -> int:
    held = Held()
    ctx.step.run("a", int)
    raise ValueError(str(held))


@_function("cancelled", cancel=[stepwell.Cancel(event="stop")])
async def cancelled(ctx: stepwell.Context) -> int:
    held = Held()
    await ctx.step.sleep("long", "1h")
    return id(held)


@_function("cancelled-reading", cancel=[stepwell.Cancel(event="stop")])
async def cancelled_reading(ctx: stepwell.Context) -> int:
    async with (
        httpx2.AsyncClient(transport=AsyncDurableTransport()) as http,
        http.stream("GET", str(ctx.event.data["url"])) as response,
    ):
        held = [Held() async for _ in response.aiter_bytes()]
    return len(held)


@pytest_asyncio.fixture
async def platform(tmp_path: Path) -> AsyncGenerator[Embedded]:
    async with embedded(client, db=f"sqlite:///{tmp_path}/db") as running:
        yield running


@pytest.fixture(autouse=True)
def no_collector() -> Generator[None]:
    alive.clear()
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    "name",
    [
        "steps",
        "parallel",
        "fails",
        "step-fails",
        "timers",
        "loser",
        "sync",
        "sync-parallel",
        "sync-fails",
        "sync-step-fails",
        "fetch-fails",
        "read-along",
    ],
)
async def test_an_ended_run_holds_nothing(platform: Embedded, name: str) -> None:
    found = await platform.send_and_wait(name)
    assert found[0].ended
    await until_freed()


async def test_a_cancelled_run_holds_nothing(platform: Embedded) -> None:
    event = await platform.send("cancelled")
    async with asyncio.timeout(30):
        while not alive:
            await asyncio.sleep(0.001)
    await platform.send("stop")
    assert (await platform.wait(event))[0].status == "cancelled"
    await until_freed()


async def test_a_run_that_is_cancelled_while_it_reads_a_response_holds_nothing(platform: Embedded) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"the first piece")
        await asyncio.sleep(60)
        return answer

    app = web.Application()
    app.router.add_get("/", endless)
    async with TestServer(app) as server:
        event = await platform.send("cancelled-reading", {"url": str(server.make_url("/"))})
        async with asyncio.timeout(20):
            while not alive:
                await asyncio.sleep(0.001)
        await platform.send("stop")
        assert (await platform.wait(event))[0].status == "cancelled"
        await until_freed()
