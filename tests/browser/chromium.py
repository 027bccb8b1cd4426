"""The system's Chromium, driven by Playwright, and a shop to look at."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext, Page, async_playwright, expect

import stepwell

ROOT = Path(__file__).parent.parent.parent
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
expect.set_options(timeout=30_000)
LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def executable() -> str:
    """Where Chromium is."""
    run = ["sh", ROOT / "scripts" / "chromium.sh"]
    return subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()


@asynccontextmanager
async def browsing(**options: Any) -> AsyncIterator[BrowserContext]:
    """A browser of its own. ``options``: of Playwright's context."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable(), args=QUIET)
        try:
            settings: dict[str, Any] = {"viewport": LAPTOP, "color_scheme": "light", **options}
            yield await browser.new_context(**settings)
        finally:
            await browser.close()


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Page]:
    """A page on which nothing may go wrong: an error or a breach of the policy fails at the end."""
    async with browsing(**options) as context:
        page = await context.new_page()
        page.set_default_timeout(30_000)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        await page.goto(url)
        await page.wait_for_selector("html[data-ready]")
        yield page
        assert wrong == []


def shop() -> stepwell.Client:
    """Functions for each kind of step that a page shows."""
    client = stepwell.Client(app_id="shop")

    @client.create_function(fn_id="import-orders", trigger=stepwell.TriggerEvent(event="orders/imported"))
    async def import_orders(ctx: stepwell.Context) -> dict[str, Any]:
        url = ctx.event.data.get("url")
        if isinstance(url, str):
            await ctx.step.fetch(f"{url}/orders?api_key=hush")
            await asyncio.gather(*(ctx.step.fetch(f"{url}/orders/{number}") for number in range(4)))
        lines = await ctx.step.run("count-lines", _double, 21)
        approval = await ctx.step.wait_for_event("approval", event="orders/approved", timeout=3_600_000)
        await ctx.step.sleep("a-moment", 50)
        return {"lines": lines, "approved": approval is not None}

    @client.create_function(fn_id="send-invoice", trigger=stepwell.TriggerEvent(event="order/paid"), retries=0)
    async def send_invoice(ctx: stepwell.Context) -> None:
        await ctx.step.run("load-order", lambda: {"id": 7, "<b>": "<script>alert(1)</script>"})
        raise ValueError("the order has no address")

    @client.create_function(
        fn_id="daily-report", trigger=stepwell.TriggerCron(cron="TZ=Europe/Berlin 0 9 * * MON-FRI"), retries=2
    )
    async def daily_report(ctx: stepwell.Context) -> None:
        await ctx.step.run("report", lambda: None)

    del import_orders, send_invoice, daily_report
    return client


def _double(number: int) -> int:
    return number * 2
