"""A run of 10,000 steps in a real browser: it opens, scrolls, and any part of it can be reached."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Page, expect

from benchmarks.pages import RUN, platform_with_run
from tests.browser.chromium import browsing, opened
from tests.e2e.ugly import Call, Rig, bare, ops, returned, step_run

pytestmark = pytest.mark.browser
STEPS = 10_000 if os.environ.get("CI") == "true" else 2_000


async def test_a_run_of_many_steps_opens_and_scrolls() -> None:
    """Its first rows are there at once; further ones come when they come into view; the last ones are one click away."""
    async with platform_with_run(STEPS) as url, opened(f"{url}/runs/{RUN}") as page:
        rows = page.locator(".rows > li")
        await expect(rows).to_have_count(201)
        await expect(page.locator("further-rows")).to_contain_text(f"of {STEPS}")
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


def waits(name: str) -> dict[str, Any]:
    """A step that waits for the event of its name."""
    return {"op": "WaitForEvent", "id": name, "displayName": name, "name": name, "opts": {"timeout": "1h"}}


def steps(first: int, last: int) -> list[dict[str, Any]]:
    """Steps that the app ran, ``first`` to ``last - 1``."""
    return [step_run(f"step-{number}") for number in range(first, last)]


@asynccontextmanager
async def looked_at(rig: Rig) -> AsyncIterator[Page]:
    """The page of a run that has begun, told of what changes."""
    event = await rig.platform.send("go", {})
    view = await rig.platform.view_of(event)
    assert view is not None
    async with opened(f"{rig.platform.url}/runs/{view.run.run_id}") as page:
        await page.locator("live-page[data-connected]").wait_for()
        yield page


async def scroll_to_the_end(page: Page, *counts: int) -> None:
    """Once, each time that there are so many rows; ``counts``: one for each part of the run."""
    for seen in counts:
        await expect(page.locator(".rows > li")).to_have_count(seen)
        await page.evaluate("document.querySelector('.rows').lastElementChild.scrollIntoView()")


async def test_parts_that_were_loaded_are_live_when_they_are_looked_at(tmp_path: Path) -> None:
    """Also those between the first and the last one, which were out of sight when their steps ended."""

    async def many(call: Call, _request: web.Request) -> web.StreamResponse:
        return returned() if "enough" in call["steps"] else ops(*steps(0, 250), waits("enough"), *steps(250, 650))

    async with bare(tmp_path, many) as rig, looked_at(rig) as page:
        await scroll_to_the_end(page, 201, 401, 601, 652)
        await page.evaluate("scrollTo(0, 0)")
        status = page.locator("#s-enough .status")
        await expect(status).to_have_text("waiting")
        await rig.platform.send("enough", {})
        await expect(page.locator("#run-head .status")).to_have_text("completed")
        await page.evaluate("document.getElementById('s-enough').scrollIntoView()")
        await expect(status).to_have_text("completed")


async def test_a_run_that_grows_while_it_is_looked_at_can_be_scrolled_on(tmp_path: Path) -> None:
    """Past its only part, and past what was the last one of several."""

    async def grows(call: Call, _request: web.Request) -> web.StreamResponse:
        known = call["steps"]
        if "third" in known:
            return returned()
        if "second" in known:
            return ops(*steps(249, 650), waits("third"))
        return ops(*steps(149, 249), waits("second")) if "first" in known else ops(*steps(0, 149), waits("first"))

    async with bare(tmp_path, grows) as rig, looked_at(rig) as page:
        await scroll_to_the_end(page, 151)
        assert await page.locator("further-rows").count() == 0
        await rig.platform.send("first", {})
        await scroll_to_the_end(page, 201, 252)
        await rig.platform.send("second", {})
        await scroll_to_the_end(page, 401, 601, 654)


LATE = """
const [Real, kept] = [window.IntersectionObserver, []];
window.IntersectionObserver = class extends Real {
  constructor(told, options) {
    super((entries) => kept.push(...entries), options);
    window.deliver = () => told(kept.splice(0));
  }
};
window.kept = kept;
"""


async def test_a_scroll_right_after_rows_came_is_not_missed(tmp_path: Path) -> None:
    """A busy browser tells of "out of sight" and "in sight" at once."""

    async def many(call: Call, _request: web.Request) -> web.StreamResponse:
        return returned() if call["ctx"]["stack"]["current"] else ops(*steps(0, 250))

    async with bare(tmp_path, many) as rig, browsing() as context:
        result = await rig.run()
        page = await context.new_page()
        await page.add_init_script(LATE)
        await page.goto(f"{rig.platform.url}/runs/{result.run_id}")
        for told in (1, 2):
            await page.wait_for_function("(told) => kept.length === told", arg=told)
            await page.evaluate("document.querySelector('.rows').lastElementChild.scrollIntoView()")
        assert await page.evaluate("kept.map((entry) => entry.isIntersecting)") == [False, True]
        await page.evaluate("deliver()")
        await expect(page.locator(".rows > li")).to_have_count(251)
