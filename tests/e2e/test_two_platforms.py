"""Two platforms on one PostgreSQL share the work of one run, within its limits, and nothing is sent twice."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
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
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.seen[request.path] += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.03)
        self.now -= 1
        return web.Response(text="ok")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Upstream"]:
        app = web.Application()
        app.router.add_get("/{n}", self.answer)
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


async def run_on_two(upstream: Upstream, requests: int, **options: Any) -> None:
    """One run of a function, on two platforms that have room for few items each."""
    settings = Settings(db=await clean_database(), encryption_keys=("33" * 32,), port=0, discovery=False)
    platforms = [Embedded(settings, [a_client(upstream, requests, **options)]) for _ in range(2)]
    for platform in platforms:
        await platform.start()
        platform._host_engine().worker._capacity = ROOM  # pyright: ignore[reportPrivateUsage]
    (result,) = await platforms[0].send_and_wait("many", timeout=40)
    for platform in platforms:
        await platform.stop()
    assert (result.status, result.output) == ("completed", ["ok"] * requests)


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
