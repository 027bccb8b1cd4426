"""The dashboard in a real browser: what a person does with it, live, by keyboard, on a phone, in the dark."""

import json
import os
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from axe_core_python.async_playwright import Axe
from playwright.async_api import Page, expect

import stepwell
from stepwell.embed import Embedded
from tests.browser.chromium import LAPTOP, PHONE, browsing, opened, shop
from tests.e2e.ugly import Call, api, bare, ops, platform, returned, step_run, until

pytestmark = pytest.mark.browser
SIGNING_KEY = "signkey-test-abc123def456"


LOOKS = [pytest.param("light", LAPTOP, id="light laptop"), pytest.param("dark", PHONE, id="dark phone")][
    0 if os.environ.get("CI") == "true" else 1 :
]
ELSEWHERE = "/events"
"""Where tests begin that go on to a run: the first page of those who have none goes to the list by itself once there is one."""


@asynccontextmanager
async def shown(tmp_path: Path, path: str = "/", **options: Any) -> AsyncIterator[tuple[Embedded, Page]]:
    """A shop's platform, and a page of it."""
    async with platform(tmp_path, shop()) as running, opened(running.url + path, **options) as page:
        yield running, page


async def newest(running: Embedded, function: str) -> str:
    """The id of the newest run of a function, once there is one."""
    found: list[str] = []

    async def there() -> bool:
        _, _, answer = await api(running, "GET", f"/v1/runs?function={function}&limit=1")
        found[:] = [run["run_id"] for run in answer["data"]]
        return bool(found)

    await until(there)
    return found[0]


async def waiting_run(running: Embedded) -> str:
    """A run that waits for its approval."""
    await running.send("orders/imported", {"file": "a.csv"})
    run_id = await newest(running, "shop-import-orders")

    async def waits() -> bool:
        _, _, answer = await api(running, "GET", f"/v1/runs/{run_id}/steps")
        return any(step["name"] == "approval" for step in answer["data"])

    await until(waits)
    return run_id


async def test_a_live_run_goes_on_without_a_reload(tmp_path: Path) -> None:
    async with shown(tmp_path, ELSEWHERE) as (running, page):
        run_id = await waiting_run(running)
        await page.goto(f"{running.url}/runs/{run_id}")
        await page.evaluate("window.same = true")
        await expect(page.locator("#run-head .status")).to_have_text("running")
        await page.locator("live-page[data-connected]").wait_for()
        await running.send("orders/approved")
        await expect(page.locator("#run-head .status")).to_have_text("completed")
        await expect(page.locator(".rows")).to_contain_text("a-moment")
        await expect(page.locator("#panel")).to_contain_text("42")
        await expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
        assert await page.evaluate("window.same") is True


async def place_of(page: Page, run_id: str) -> dict[str, float]:
    """Where a row is, and how large; asked in one go, for the row may be put anew between two questions."""
    return await page.evaluate("id => document.getElementById(id).getBoundingClientRect().toJSON()", f"r-{run_id}")


async def test_the_list_is_kept_up_to_date_and_nothing_jumps(tmp_path: Path) -> None:
    async with shown(tmp_path) as (running, page):
        first = await waiting_run(running)
        await expect(page.locator(f"#r-{first}")).to_contain_text(
            "running"
        )  # the first one takes the place of the lesson
        await page.locator("live-page[data-connected]").wait_for()
        await page.evaluate("window.same = true")
        before = await place_of(page, first)
        await running.send("order/paid", {"id": 7})
        await page.get_by_role("button", name="1 new").wait_for()
        assert await place_of(page, first) == before
        await running.send("orders/approved")
        await expect(page.locator(f"#r-{first}")).to_contain_text("completed")
        assert await place_of(page, first) == before
        await page.get_by_role("button", name="1 new").click()
        await expect(page.locator("tbody tr")).to_have_count(2)
        await expect(page.locator("tbody tr").first).to_contain_text("shop-send-invoice")
        assert await page.evaluate("window.same") is True


async def test_filters_are_in_the_url(tmp_path: Path) -> None:
    async with shown(tmp_path, ELSEWHERE) as (running, page):
        await waiting_run(running)
        await running.wait(await running.send("order/paid", {"id": 7}))
        await page.goto(running.url)
        await expect(page.locator("tbody tr")).to_have_count(2)
        await page.get_by_label("Status").select_option("failed")
        await page.get_by_role("button", name="Filter").click()
        await expect(page.locator("tbody tr")).to_have_count(1)
        assert "status=failed" in page.url
        await page.get_by_label("Expression").fill("run.error.message.contains('no address')")
        await page.keyboard.press("Enter")
        await expect(page.locator("tbody tr")).to_have_count(1)
        await page.get_by_label("Expression").fill("")
        await page.get_by_label("Text").fill("no such words")
        await page.get_by_role("button", name="Filter").click()
        await expect(page.locator(".empty")).to_contain_text("passes these filters")
        await page.get_by_role("link", name="Clear").click()
        await expect(page.locator("tbody tr")).to_have_count(2)


async def test_an_event_is_sent_with_the_last_payload_as_a_start(tmp_path: Path) -> None:
    async with shown(tmp_path, "/events") as (running, page):
        await running.wait(await running.send("order/paid", {"id": 7}))
        await page.goto(f"{running.url}/events/send?name=order/paid")
        data = page.get_by_label("Data")
        assert '"id": 7' in await data.input_value()
        await data.fill('{"id": 8}')
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator("#started")).to_contain_text("failed")
        await page.get_by_role("link", name="shop-send-invoice").click()
        await expect(page.locator("#panel .error")).to_contain_text("the order has no address")
        await expect(page.locator("#panel .stack").first).to_contain_text("send_invoice")


async def test_events_that_start_nothing_are_seen_as_they_come(tmp_path: Path) -> None:
    async with shown(tmp_path, ELSEWHERE) as (running, page):
        await page.locator("live-page[data-connected]").wait_for()
        await running.send("nobody/listens", {"id": 1})
        await expect(page.locator("tbody tr")).to_have_count(1)
        await expect(page.locator("tbody tr")).to_contain_text("nothing")
        await running.send("nobody/listens", {"id": 2})
        await page.get_by_role("button", name="1 new").click()
        await expect(page.locator("tbody tr")).to_have_count(2)


async def test_a_run_is_cancelled(tmp_path: Path) -> None:
    async with shown(tmp_path, ELSEWHERE) as (running, page):
        run_id = await waiting_run(running)
        await page.goto(f"{running.url}/runs/{run_id}")
        await page.get_by_role("button", name="Cancel").click()
        await expect(page.locator("#run-head .status")).to_have_text("cancelled")
        result = await running.run(run_id)
        assert result is not None
        assert result.status == "cancelled"


async def test_a_function_is_paused_and_resumed_and_events_meanwhile_are_seen_to_be_skipped(tmp_path: Path) -> None:
    async with shown(tmp_path, "/functions") as (running, page):
        row = page.locator("#f-shop-send-invoice")
        await row.get_by_text("Pause", exact=True).first.click()
        await row.get_by_role("button", name="Pause shop-send-invoice now").click()
        await expect(row).to_contain_text("paused")
        event_id = await running.send("order/paid", {"id": 7})
        await page.goto(f"{running.url}/events/{event_id}")
        await expect(page.locator("main")).to_contain_text("paused")
        await page.goto(f"{running.url}/functions")
        await page.locator("live-page[data-connected]").wait_for()
        await page.evaluate("window.same = true")
        assert (await api(running, "POST", "/v1/functions/shop-import-orders/pause"))[0] == 200
        await expect(page.locator("#f-shop-import-orders")).to_contain_text("paused")  # by somebody else
        await row.get_by_role("button", name="Resume shop-send-invoice").click()
        await expect(row).to_contain_text("active")
        await running.wait(await running.send("order/paid", {"id": 8}))


async def test_a_function_is_paused_by_keyboard_and_what_is_open_stays_open(tmp_path: Path) -> None:
    async with shown(tmp_path, "/functions", reduced_motion="reduce") as (running, page):
        await page.locator("live-page[data-connected]").wait_for()
        other = page.locator("#f-shop-import-orders details").first
        await page.locator("#f-shop-send-invoice summary").first.focus()
        await page.keyboard.press("Enter")
        for key in ("Tab", "Space", "Tab", "Enter"):  # the tick, and the button
            await page.keyboard.press(key)
        await expect(page.locator("#f-shop-send-invoice")).to_contain_text("paused")
        assert (await api(running, "GET", "/v1/cancellations"))[2]["data"][0]["function_id"] == "send-invoice"
        await page.locator("live-page[data-connected]").wait_for()
        await page.locator("#f-shop-import-orders summary").first.click()
        await page.evaluate("document.querySelector('live-page').known.clear()")  # as if every row were to change
        await running.send("order/paid", {"id": 7})

        async def replaced() -> bool:
            return bool(await page.evaluate("document.querySelector('live-page').known.size"))

        await until(replaced)
        await expect(other).to_have_attribute("open", "")
        moving = "document.getAnimations().filter((each) => each.playState === 'running').length"
        await page.goto(f"{running.url}/?status=running")
        assert await page.evaluate(moving) == 0


async def test_ticked_runs_are_cancelled_together_and_stay_ticked_while_rows_change(tmp_path: Path) -> None:
    async with shown(tmp_path) as (running, page):
        first = await waiting_run(running)
        await page.locator(f"#r-{first}").wait_for()
        await page.locator("live-page[data-connected]").wait_for()
        await page.get_by_label(f"Select {first}").check()
        await running.send("order/paid", {"id": 7})
        await page.get_by_role("button", name="1 new").click()
        await expect(page.get_by_label(f"Select {first}")).to_be_checked()
        await page.get_by_role("button", name="Cancel").click()
        await expect(page.locator(f"#r-{first}")).to_contain_text("cancelled")


async def test_further_steps_come_when_they_are_scrolled_to(tmp_path: Path) -> None:
    async def many(call: Call, _request: web.Request) -> web.StreamResponse:
        done = call["ctx"]["stack"]["current"]
        return returned() if done else ops(*(step_run(f"step-{number}") for number in range(450)))

    async with bare(tmp_path, many) as rig:
        result = await rig.run()
        async with opened(f"{rig.platform.url}/runs/{result.run_id}") as page:
            await expect(page.locator(".rows li")).to_have_count(201)
            await page.locator("further-rows").scroll_into_view_if_needed()
            await expect(page.locator(".rows li")).to_have_count(401)
            await page.locator("further-rows").scroll_into_view_if_needed()
            await expect(page.locator(".rows li")).to_have_count(451)
            await page.get_by_role("link", name="step-449").click()
            await expect(page.locator("#panel h2")).to_have_text("step-449")
            await page.reload()
            await expect(page.locator("#panel h2")).to_have_text("step-449")


async def test_a_run_begins_anew_from_a_step_with_edited_input(tmp_path: Path) -> None:
    async with shown(tmp_path, ELSEWHERE) as (running, page):
        run_id = await waiting_run(running)
        await page.goto(f"{running.url}/runs/{run_id}")
        await page.get_by_role("link", name="count-lines").click()
        await expect(page.locator("#panel h2")).to_have_text("count-lines")
        assert "?step=" in page.url
        await page.get_by_label("Arguments").fill("[100]")
        await page.get_by_role("button", name="Run again from this step").click()
        await page.get_by_role("link", name=run_id).wait_for()  # "repeats", on the page of the new run
        again = page.url.rpartition("/")[2]
        assert again != run_id
        await expect(page.locator(".rows")).to_contain_text("approval")
        await running.send("orders/approved")
        await expect(page.locator("#run-head .status")).to_have_text("completed")
        await expect(page.locator("#panel")).to_contain_text("200")


async def test_a_panel_has_a_link_of_its_own_and_keys_move_through_the_rows(tmp_path: Path) -> None:
    async with shown(tmp_path, ELSEWHERE) as (running, page):
        run_id = await waiting_run(running)
        await page.goto(f"{running.url}/runs/{run_id}")
        await page.wait_for_selector("html[data-ready]")
        await page.keyboard.press("j")
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Enter")
        await expect(page.locator("#panel h2")).to_have_text("count-lines")
        deep = page.url
        await page.go_back()
        await expect(page.locator("#panel h2")).to_have_text("The run")
        await page.goto(deep)
        await expect(page.locator("#panel h2")).to_have_text("count-lines")
        await page.goto(running.url)
        await page.wait_for_selector("html[data-ready]")
        await page.keyboard.press("/")
        await expect(page.get_by_label("Text")).to_be_focused()


async def test_what_a_person_types_is_not_overwritten_by_what_arrives(tmp_path: Path) -> None:
    async with shown(tmp_path, ELSEWHERE) as (running, page):
        run_id = await waiting_run(running)
        await page.goto(f"{running.url}/runs/{run_id}")
        await page.get_by_role("link", name="approval").click()
        await page.get_by_label("Arguments").fill("[1, 2")
        await page.locator("live-page[data-connected]").wait_for()
        await running.send("orders/approved")
        await expect(page.locator("#run-head .status")).to_have_text("completed")
        assert await page.get_by_label("Arguments").input_value() == "[1, 2"


NASTY = "it's <b>41</b> & $HOME\n"


def posting(url: str) -> stepwell.Client:
    """A function whose request has a JSON body and a credential."""
    client = stepwell.Client(app_id="poster")

    @client.create_function(fn_id="post", trigger=stepwell.TriggerEvent(event="post"))
    async def post(ctx: stepwell.Context) -> int:
        response = await ctx.step.fetch(
            url, id="ask", method="POST", json={"note": NASTY}, headers={"Authorization": "Bearer hush"}
        )
        return response.status_code

    del post
    return client


async def copy_by(page: Page, label: str) -> list[str]:
    """The words of the command that is on the clipboard once its Copy was clicked, as a shell takes them."""
    part = page.locator("copy-text").filter(has=page.get_by_label(label))
    await part.get_by_role("button", name="Copy").click()
    await expect(part.get_by_role("button")).to_have_text("Copied")
    text = await page.evaluate("navigator.clipboard.readText()")
    assert text == await part.locator("pre").text_content()
    return shlex.split(text)


async def test_a_command_is_copied_and_is_the_request_or_event_that_is_shown(tmp_path: Path) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"lamp": "green"})

    upstream = web.Application()
    upstream.router.add_post("/lamps", answer)
    async with TestServer(upstream) as server:
        url = str(server.make_url("/lamps"))
        allowed = ["clipboard-read", "clipboard-write"]
        async with (
            platform(tmp_path, posting(url)) as running,
            opened(running.url + ELSEWHERE, permissions=allowed) as page,
        ):
            event_id = await running.send("post", {"note": NASTY})
            await running.wait(event_id)
            await page.goto(f"{running.url}/events/{event_id}")
            words = await copy_by(page, "As a curl command")
            assert words[:4] == ["curl", "-X", "POST", f"{running.url}/e/EVENT_KEY"]
            assert json.loads(words[-1]) == {"name": "post", "data": {"note": NASTY}}
            await page.goto(f"{running.url}/runs/{await newest(running, 'poster-post')}")
            assert (await copy_by(page, "As a curl command"))[-1] == words[-1]
            await page.get_by_role("link", name="ask").click()
            await expect(page.locator("#panel h2")).to_have_text("ask")
            words = await copy_by(page, "As a curl command")
            assert url in words
            assert json.loads(words[words.index("--data-raw") + 1]) == {"note": NASTY}
            assert "hush" not in " ".join(words)


async def test_where_the_clipboard_is_closed_the_text_is_selected(tmp_path: Path) -> None:
    closed = (
        "Object.defineProperty(navigator, 'clipboard', {value: undefined})"  # as on a page by http of another machine
    )
    async with shown(tmp_path, "/start") as (_, page):
        await page.add_init_script(closed)
        await page.reload()
        part = page.locator("copy-text").filter(has_text="stepwell dev app.py")
        await part.get_by_role("button", name="Copy").click()
        await expect(part.get_by_role("button")).to_have_text("Selected")
        assert await page.evaluate("getSelection().toString().trim()") == "stepwell dev app.py"


async def test_in_production_a_person_logs_in_and_gets_to_where_they_wanted(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"kind": "cloud", "signing_key": SIGNING_KEY, "event_keys": ("k",)}
    async with platform(tmp_path, shop(), **keys) as running:
        await running.wait(await running.send("order/paid", {"id": 7}))
        async with opened(f"{running.url}/?status=failed") as page:
            await page.get_by_label("signing key").fill(SIGNING_KEY)
            await page.get_by_role("button", name="Log in").click()
            await expect(page.locator("tbody tr")).to_have_count(1)
            assert page.url.endswith("/?status=failed")
            await page.get_by_role("button", name="Log out").click()
            await page.get_by_label("signing key").wait_for()
            await page.goto(running.url)
            await page.get_by_label("signing key").wait_for()


async def test_light_and_dark_by_the_system_and_by_choice(tmp_path: Path) -> None:
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    async with shown(tmp_path, color_scheme="dark") as (_, page):
        dark = await page.evaluate(paper)
        await page.get_by_role("button", name="light and dark").click()
        light = await page.evaluate(paper)
        assert light != dark
        await page.reload()
        assert await page.evaluate(paper) == light


@asynccontextmanager
async def behind(upstream: str, prefix: str) -> AsyncIterator[str]:
    """A proxy that takes a path prefix off, as one in front of several services does."""

    async def forward(request: web.Request) -> web.StreamResponse:
        url = upstream + request.raw_path.removeprefix(prefix)
        headers = {name: value for name, value in request.headers.items() if name != "Accept-Encoding"}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, url, headers=headers, data=await request.read(), allow_redirects=False
            ) as answer,
        ):
            made = web.StreamResponse(status=answer.status, headers=answer.headers)
            await made.prepare(request)
            async for piece in answer.content.iter_any():
                await made.write(piece)
            return made

    app = web.Application()
    app.router.add_route("*", prefix + "/{rest:.*}", forward)
    async with TestServer(app) as server:
        yield str(server.make_url(prefix))


async def test_behind_a_path_prefix_it_is_live_too(tmp_path: Path) -> None:
    async with platform(tmp_path, shop()) as running, behind(running.url, "/tools/steps") as url:
        run_id = await waiting_run(running)
        async with opened(f"{url}/") as page:
            await page.get_by_role("link", name="shop-import-orders").click()
            await page.wait_for_url(f"{url}/runs/{run_id}")
            await page.locator("live-page[data-connected]").wait_for()
            await running.send("orders/approved")
            await expect(page.locator("#run-head .status")).to_have_text("completed")
            await page.goto("about:blank")  # hangs up before the proxy ends


@pytest.mark.parametrize(("scheme", "size"), LOOKS)
async def test_axe_finds_no_violation(tmp_path: Path, scheme: Any, size: Any) -> None:
    async with platform(tmp_path, shop()) as running, browsing(color_scheme=scheme, viewport=size) as context:
        page = await context.new_page()
        urls = ["/", "/start", "/events", "/events/send", "/functions", "/apps", "/limits", "/workers"]
        await page.goto(running.url)
        await passes_axe(page)  # the lesson
        run_id = await waiting_run(running)
        await running.wait(event_id := await running.send("order/paid", {"id": 7}))
        failed = await newest(running, "shop-send-invoice")
        await api(running, "POST", "/v1/functions/shop-import-orders/pause")
        _, _, answer = await api(running, "GET", f"/v1/runs/{run_id}/steps")
        urls += [
            f"/events/{event_id}",
            f"/runs/{failed}",
            f"/runs/{run_id}",
            "/?status=skipped",
            "/runs/none",
            "/?where=run.stauts",
        ]
        urls += [f"/runs/{run_id}?step={answer['data'][0]['id']}", "/?where=run.stauts"]
        for url in urls:
            await page.goto(running.url + url)
            await passes_axe(page)
            wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{url} is wider than the screen"


async def passes_axe(page: Page) -> None:
    """No violation of WCAG 2.1 A and AA, nor of axe's best practices."""
    found = await Axe().run(page)
    told = [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found["violations"]]
    assert found["passes"]
    assert told == [], page.url
