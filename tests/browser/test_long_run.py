"""A run of 10,000 steps in a real browser: it opens, scrolls, and any part of it can be reached."""

import os
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import expect

from benchmarks.pages import RUN, platform_with_run
from tests.browser.chromium import opened
from tests.e2e.ugly import Call, bare, ops, returned, step_run

pytestmark = pytest.mark.browser
STEPS = 10_000 if os.environ.get("CI") == "true" else 2_000
expect.set_options(timeout=30_000)


async def test_a_run_of_many_steps_opens_and_scrolls() -> None:
    """Its first rows are there at once; further ones come when they come into view; the last ones are one click away."""
    async with platform_with_run(STEPS) as url, opened(f"{url}/runs/{RUN}") as page:
        rows = page.locator(".rows > li")
        await expect(rows).to_have_count(201)
        await expect(page.locator("nav[data-more]")).to_contain_text(f"of {STEPS}")
        before = await rows.nth(5).bounding_box()
        for seen in (401, 601):
            await rows.last.scroll_into_view_if_needed()
            await expect(rows.nth(seen - 1)).to_be_attached()
        await page.evaluate("scrollTo(0, 0)")
        assert await rows.nth(5).bounding_box() == before, "what was there has not moved"
        await rows.nth(400).scroll_into_view_if_needed()
        await rows.nth(400).get_by_role("link").click()
        await expect(page.locator("#panel h2")).to_have_text("store 399")
        await expect(page.locator("#panel")).to_contain_text("order")
        assert f"step={399:040x}" in page.url
        await page.goto(f"{url}/runs/{RUN}")
        await page.get_by_role("link", name="Last steps").click()
        await expect(page.locator(f"#s-{STEPS - 1:040x}")).to_contain_text(f"store {STEPS - 1}")
        await page.goto(f"{url}/runs/{RUN}?step={1_776:040x}")
        await expect(page.locator("#panel h2")).to_have_text("GET api.example.com/orders/1776")
        await expect(page.locator(f"#s-{1_776:040x} a")).to_have_attribute("aria-current", "true")


async def test_parts_that_were_loaded_are_live_when_they_are_looked_at(tmp_path: Path) -> None:
    """Also those between the first and the last one, which were out of sight when their steps ended."""
    wait = {"op": "WaitForEvent", "id": "waits", "displayName": "waits", "name": "enough", "opts": {"timeout": "1h"}}

    async def many(call: Call, _request: web.Request) -> web.StreamResponse:
        steps = [step_run(f"step-{number}") for number in range(650)]
        return returned() if "waits" in call["steps"] else ops(*steps[:250], wait, *steps[250:])

    async with bare(tmp_path, many) as rig:
        event = await rig.platform.send("go", {})
        view = await rig.platform.view_of(event)
        assert view is not None
        async with opened(f"{rig.platform.url}/runs/{view.run.run_id}") as page:
            rows = page.locator(".rows > li")
            for seen in (201, 401, 601, 652):
                await expect(rows.nth(seen - 1)).to_be_attached()
                await page.evaluate("document.querySelector('.rows').lastElementChild.scrollIntoView()")
            await page.evaluate("scrollTo(0, 0)")
            waits = page.locator("#s-waits .status")
            await expect(waits).to_have_text("waiting")
            await page.locator("live-page[data-connected]").wait_for()
            await rig.platform.send("enough", {})
            await expect(page.locator("#run-head .status")).to_have_text("completed")
            await page.evaluate("document.getElementById('s-waits').scrollIntoView()")
            await expect(waits).to_have_text("completed")
