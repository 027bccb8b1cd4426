"""The pictures of the dashboard that README.md and the docs show: a shop's platform, opened in Chromium."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from stepwell.embed import Embedded
from tests.browser.chromium import PHONE, browsing, shop
from tests.e2e.ugly import api, platform, until

FOLDER = "docs/dashboard"
"""Where the docs have them."""


@dataclass(frozen=True)
class Picture:
    """``path``: of the page, ``{run}`` and ``{step}`` filled in."""

    name: str
    path: str
    width: int = 1200
    height: int = 720
    scheme: str = "light"


PICTURES = [
    Picture("runs", "/", height=560),
    Picture("run", "/runs/{run}?step={step}"),
    Picture("run-dark", "/runs/{run}", scheme="dark"),
    Picture("events", "/events", height=440),
    Picture("functions", "/functions", height=400),
    Picture("start", "/start", height=640),
    Picture("phone", "/runs/{run}", PHONE["width"], PHONE["height"], "dark"),
]


async def take(folder: Path, database: Path) -> list[Path]:
    """Take all of them into ``folder``; ``database``: a folder for the platform's."""
    made: list[Path] = []
    async with platform_with_runs(database) as (running, run, step), browsing() as context:
        browser = context.browser
        assert browser is not None
        for each in PICTURES:
            size = {"width": each.width, "height": each.height}
            options: dict[str, Any] = {"viewport": size, "color_scheme": each.scheme, "timezone_id": "UTC"}
            page = await browser.new_page(**options)
            await page.goto(running.url + each.path.format(run=run, step=step))
            await page.wait_for_selector("html[data-ready]")
            made.append(folder / f"{each.name}.png")
            await page.screenshot(path=made[-1])
            await page.close()
    return made


@asynccontextmanager
async def platform_with_runs(folder: Path) -> AsyncIterator[tuple[Embedded, str, str]]:
    """A platform, one of its runs, which has ended, and its first step: a request that failed twice."""
    async with TestServer(upstream()) as server, platform(folder, shop(), hosts=()) as running:
        data = {"file": "orders.csv", "url": str(server.make_url("")).rstrip("/")}
        imported = await running.send("orders/imported", data)
        await running.wait(await running.send("order/paid", {"id": 7}))
        (run,) = (await api(running, "GET", f"/v1/events/{imported}/runs"))[2]["data"]

        async def steps() -> list[dict[str, Any]]:
            return (await api(running, "GET", f"/v1/runs/{run['run_id']}/steps"))[2]["data"]

        async def waits() -> bool:
            return any(step["name"] == "approval" for step in await steps())

        await until(waits, 30)
        await running.send("orders/approved")
        await running.wait(imported)
        for number in range(8, 13):
            await running.send("order/paid" if number % 2 else "orders/imported", {"id": number})

        async def begun() -> bool:
            runs = (await api(running, "GET", "/v1/runs"))[2]["data"]
            return len(runs) == 7 and all(each["started_at"] for each in runs)

        await until(begun, 30)
        yield running, run["run_id"], (await steps())[0]["id"]


def upstream() -> web.Application:
    """An API that is not well at first, and slow afterwards."""
    seen: list[str] = []

    async def orders(request: web.Request) -> web.Response:
        seen.append(request.path)
        await asyncio.sleep(0.15)
        if len(seen) < 3:
            return web.Response(status=503, headers={"Retry-After": "1"})
        return web.json_response({"orders": [{"id": 7, "name": "Ada", "paid": True}, {"id": 8, "name": "Grace"}]})

    async def order(request: web.Request) -> web.Response:
        await asyncio.sleep(0.2 + 0.15 * int(request.match_info["number"]))
        return web.json_response({"id": int(request.match_info["number"])})

    app = web.Application()
    app.router.add_get("/orders", orders)
    app.router.add_get("/orders/{number}", order)
    return app
