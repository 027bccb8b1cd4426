"""Every attempt of a real request, as the API and the page of the run tell of it: what came of it, and the delay after it."""

import html
import re
from pathlib import Path
from typing import Any

import aiohttp

import stepwell
from tests.e2e.ugly import finish, platform
from tests.server.hostile_server import Exchange, hostile, plain


async def hang_up(exchange: Exchange) -> None:
    exchange.writer.close()


async def test_each_attempt_with_its_outcome_its_phases_and_the_delay_after_it(tmp_path: Path) -> None:
    made = stepwell.Client("app")

    @made.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"), retries=5)
    async def f(ctx: stepwell.Context) -> int:
        return (await ctx.step.fetch(server.url, id="get")).status_code

    said = plain(b"busy", "429 Too Many Requests", "Retry-After: 0")
    scripts: Any = (said, hang_up, plain(b"no", "503 Service Unavailable"), plain(b"fine"))
    async with hostile(*scripts) as server, platform(tmp_path, made) as running:
        result = await finish(running, await running.send("go", {}))
        async with aiohttp.ClientSession(running.url) as http:
            async with http.get(f"/v1/runs/{result.run_id}/steps") as answer:
                (step,) = (await answer.json())["data"]
            async with http.get(f"/runs/{result.run_id}?step={step['id']}") as answer:
                page = await answer.text()
    assert result.output == 200
    busy, lost, failed, fine = step["attempts"]
    asked = "status 429; the server asked for this delay"
    gone = f"GET {server.url}: the server closed the connection without an answer."
    assert [busy[name] for name in ("number", "status", "delay_ms", "reason", "size")] == [0, 429, 0, asked, 4]
    assert [lost[name] for name in ("number", "error", "delay_ms", "reason")] == [1, f"read: {gone}", 10, gone]
    assert [failed[name] for name in ("number", "status", "delay_ms", "reason")] == [2, 503, 10, "status 503"]
    assert [fine[name] for name in ("number", "status", "size")] == [3, 200, 4]
    assert {"connect", "first_byte", "transfer"} <= busy["phases"].keys()
    assert not {"delay_ms", "reason", "error"} & fine.keys()
    words = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page.partition("<h3>Attempts</h3>")[2])))
    for said_so in (
        f"then waited 0 ms: {asked}",
        f"read: {gone}",
        f"then waited 10 ms: {gone}",
        "then waited 10 ms: status 503",
    ):
        assert said_so in words
