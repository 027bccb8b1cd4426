"""Takes the pictures of the dashboard that README.md and docs/dashboard.md show: a shop's platform, opened in Chromium."""

import asyncio
import sys
import tempfile
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser.chromium import PHONE, browsing, shop  # noqa: E402
from tests.e2e.ugly import api, platform, until  # noqa: E402

FOLDER = ROOT / "docs" / "dashboard"
SHOT = {"width": 1200, "height": 720}


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


async def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        async with TestServer(upstream()) as server, platform(Path(folder), shop(), hosts=()) as running:
            imported = await running.send(
                "orders/imported", {"file": "orders.csv", "url": str(server.make_url("")).rstrip("/")}
            )
            await running.wait(await running.send("order/paid", {"id": 7}))
            (run,) = (await api(running, "GET", f"/v1/events/{imported}/runs"))[2]["data"]
            run_id = run["run_id"]

            async def waits() -> bool:
                _, _, answer = await api(running, "GET", f"/v1/runs/{run_id}/steps")
                return any(step["name"] == "approval" for step in answer["data"])

            await until(waits, 30)
            await running.send("orders/approved")
            await running.wait(imported)
            for number in range(8, 13):
                await running.send("order/paid" if number % 2 else "orders/imported", {"id": number})
            await asyncio.sleep(1)  # they have started by then; a picture is no test
            first = (await api(running, "GET", f"/v1/runs/{run_id}/steps"))[2]["data"][0]["id"]
            wanted = [
                ("runs", "/", "light", {"width": 1200, "height": 560}),
                ("run", f"/runs/{run_id}?step={first}", "light", SHOT),
                ("run-dark", f"/runs/{run_id}", "dark", SHOT),
                ("functions", "/functions", "light", {"width": 1200, "height": 400}),
                ("phone", f"/runs/{run_id}", "dark", PHONE),
            ]
            for name, path, scheme, size in wanted:
                async with browsing(color_scheme=scheme, viewport=size) as context:
                    page = await context.new_page()
                    await page.goto(running.url + path)
                    await page.wait_for_selector("html[data-ready]")
                    await page.screenshot(path=FOLDER / f"{name}.png")
                    print(f"docs/dashboard/{name}.png")


if __name__ == "__main__":
    asyncio.run(main())
