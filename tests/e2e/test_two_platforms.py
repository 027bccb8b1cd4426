"""Two platforms on one PostgreSQL share the work of one run, within its limits, and nothing is sent twice."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from stepwell import Client, Context, TriggerEvent
from stepwell.embed import Embedded
from stepwell.server.settings import Settings
from stepwell.testing.platform.postgres import clean_database

ROOM = 6


class Upstream:
    """Counts requests by path, and how many there are at once."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.now = self.most = 0
        self.broken_off = asyncio.Event()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.seen[request.path] += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.03)
        self.now -= 1
        return web.Response(text="ok")

    async def hang(self, request: web.Request) -> web.Response:
        """No answer, until nobody waits for it any more."""
        self.now += 1
        try:
            while request.transport is not None and not request.transport.is_closing():
                await asyncio.sleep(0.02)
        finally:
            self.broken_off.set()
        return web.Response()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Upstream"]:
        app = web.Application()
        app.router.add_get("/{n}", self.answer)
        app.router.add_get("/hang/{n}", self.hang)
        async with TestServer(app) as server:
            self.url = str(server.make_url("/"))
            yield self


def a_client(upstream: Upstream, requests: int, **options: Any) -> Client:
    client = Client(app_id="a")

    @client.create_function(fn_id="many", trigger=TriggerEvent(event="many"), **options)
    async def many(ctx: Context) -> list[str]:
        found = await asyncio.gather(*(ctx.step.fetch(f"{upstream.url}{n}", id=f"f{n}") for n in range(requests)))
        return [response.text for response in found]

    return client


@asynccontextmanager
async def two_platforms(upstream: Upstream, requests: int, **options: Any) -> AsyncIterator[list[Embedded]]:
    """Both with room for few items, and with the same function."""
    settings = Settings(db=await clean_database(), encryption_keys=("33" * 32,), port=0, discovery=False)
    platforms = [Embedded(settings, [a_client(upstream, requests, **options)]) for _ in range(2)]
    for platform in platforms:
        await platform.start()
        platform._host_engine().worker._capacity = ROOM  # pyright: ignore[reportPrivateUsage]
    try:
        yield platforms
    finally:
        for platform in platforms:
            await platform.stop()


async def run_on_two(upstream: Upstream, requests: int, **options: Any) -> None:
    async with two_platforms(upstream, requests, **options) as platforms:
        (result,) = await platforms[0].send_and_wait("many", timeout=40)
    assert (result.status, result.output) == ("completed", ["ok"] * requests)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not condition():
            await asyncio.sleep(0.02)


async def test_both_work_on_one_run_and_each_request_is_sent_once() -> None:
    async with Upstream().serving() as upstream:
        await run_on_two(upstream, 60)
    assert upstream.seen == Counter({f"/{n}": 1 for n in range(60)})
    assert ROOM < upstream.most <= 2 * ROOM


async def test_a_limit_holds_over_both() -> None:
    async with Upstream().serving() as upstream:
        await run_on_two(upstream, 30, concurrency=3)
    assert upstream.seen == Counter({f"/{n}": 1 for n in range(30)})
    assert upstream.most <= 3


async def test_a_run_that_ends_at_one_is_not_worked_for_at_the_other() -> None:
    """Its slots are free then: the request must not go on beside the next one."""
    async with Upstream().serving() as upstream:
        upstream.url += "hang/"
        async with two_platforms(upstream, 1, concurrency=1) as platforms:
            event = await platforms[0].send("many")
            await until(lambda: upstream.now == 1)
            engines = [platform._host_engine() for platform in platforms]  # pyright: ignore[reportPrivateUsage]
            idle = platforms[1] if engines[0].worker.busy() else platforms[0]
            engine = idle._host_engine()  # pyright: ignore[reportPrivateUsage]
            await until(lambda: engine._post.wanted("ends"))
            view = await idle.view_of(event)
            assert view is not None
            assert await idle._host.ask(engine.cancel(view.run.run_id))  # pyright: ignore[reportPrivateUsage]
            async with asyncio.timeout(40):
                await upstream.broken_off.wait()
