"""Markup in whatever users store stays text in a real browser: on every page, in every panel, and in what arrives live."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Page, expect

import stepwell
from stepwell.embed import Embedded
from tests.browser.chromium import opened
from tests.e2e.ugly import api, platform, until

pytestmark = pytest.mark.browser
HACK = "window.hacked = 1"
EVIL = f"<script>{HACK}</script>\"'><img src=x onerror='{HACK}'><svg onload='{HACK}'></svg>{{{{7+7}}}}"
LINK = "javascript:window.hacked=1"


class Evil(Exception):
    """An error whose name is markup as well."""


Evil.__name__ = Evil.__qualname__ = EVIL


async def answer(request: web.Request) -> web.Response:
    kinds = {"html": ("text/html", EVIL), "json": ("application/json", f'{{"a": ["<b>", "{LINK}"]}}')}
    kind, body = kinds.get(request.path.strip("/"), ("image/svg+xml", f"<svg xmlns='x' onload='{HACK}'/>"))
    return web.Response(text=body, content_type=kind, headers={"X-Evil": EVIL, "Location": LINK})


def evil() -> stepwell.Client:
    client = stepwell.Client("evil")

    @client.create_function(fn_id="does", trigger=stepwell.TriggerEvent(event=EVIL), retries=0, name=EVIL)
    async def does(ctx: stepwell.Context) -> None:
        await ctx.step.run(EVIL, lambda: {EVIL: EVIL, LINK: [EVIL]})
        for name in ("html", "json", "svg"):
            url, headers = f"{ctx.event.data['url']}/{name}", {"X-Evil": EVIL}
            await ctx.step.fetch(url, method="POST", headers=headers, json={EVIL: LINK}, id=f"{EVIL} {name}")
        await ctx.step.wait_for_event(f"wait {EVIL}", event=f"go {EVIL}", timeout=3_600_000)
        raise Evil(EVIL)

    throttle = stepwell.Throttle(limit=1, period="1h", key="event.data.key")

    @client.create_function(fn_id="held", trigger=stepwell.TriggerEvent(event="held"), throttle=throttle)
    async def held(ctx: stepwell.Context) -> str:
        return EVIL

    del does, held
    return client


@asynccontextmanager
async def stage(tmp_path: Path) -> AsyncIterator[tuple[Embedded, str, str]]:
    """A platform, the event and the run that waits, with all of it stored."""
    app = web.Application()
    app.router.add_post("/{name}", answer)
    async with TestServer(app) as server, platform(tmp_path, evil()) as running:
        event = await running.send(EVIL, {"url": str(server.make_url("")).rstrip("/"), EVIL: EVIL}, id=EVIL)
        for _ in range(2):
            await running.send("held", {"key": EVIL})
        runs: list[dict[str, Any]] = []

        async def waits() -> bool:
            _, _, found = await api(running, "GET", "/v1/runs?function=evil-does")
            runs[:] = found["data"]
            if not runs:
                return False
            _, _, steps = await api(running, "GET", f"/v1/runs/{runs[0]['run_id']}/steps")
            return len(steps["data"]) == 5

        await until(waits)
        yield running, event, str(runs[0]["run_id"])


async def unharmed(page: Page) -> None:
    """It is shown, and nothing of it ran; errors of the page fail at its end."""
    await expect(page.locator("main")).to_contain_text(HACK)
    assert await page.evaluate("window.hacked") is None
    assert await page.locator("main script, main img[src=x], main svg[onload], [href^='javascript:']").count() == 0


async def test_markup_stays_text_wherever_it_is_shown(tmp_path: Path) -> None:
    async with stage(tmp_path) as (running, event, run_id), opened(f"{running.url}/runs/{run_id}") as page:
        await unharmed(page)
        links = page.locator(".rows a[data-panel]")
        for number in range(await links.count()):
            await links.nth(number).click()
            await expect(links.nth(number)).to_have_attribute("aria-current", "true")
            await expect(page.locator("#panel")).to_contain_text(HACK)
            await unharmed(page)
        await page.locator("live-page[data-connected]").wait_for()
        await running.send(f"go {EVIL}", {EVIL: EVIL})
        await expect(page.locator("#run-head .status")).to_have_text("failed")  # live
        await page.goto(f"{running.url}/runs/{run_id}")
        await expect(page.locator("#panel .error").first).to_contain_text(HACK)
        await unharmed(page)
        for path in ("/", "/events", f"/events/{event}", f"/events/send?like={event}", "/functions", "/limits"):
            await page.goto(running.url + path)
            await unharmed(page)
        await page.goto(running.url)
        await page.get_by_label("Text").fill(EVIL)
        await page.get_by_role("button", name="Filter").click()
        await expect(page.locator("tbody tr")).to_have_count(2)  # by what one raised and the other returned
        await unharmed(page)


async def test_markup_that_arrives_live_stays_text(tmp_path: Path) -> None:
    async with platform(tmp_path, evil()) as running, opened(f"{running.url}/events") as page:
        await page.locator("live-page[data-connected]").wait_for()
        await running.send(EVIL, {"url": "http://127.0.0.1:1", EVIL: EVIL})
        await expect(page.locator("tbody tr")).to_have_count(1)
        await unharmed(page)
