"""A platform that can not store says when to come again, and our client does."""

import asyncio
from typing import Any

import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from stepwell import Client
from stepwell.sdk.pausing import pause_s

SENT = {"/e/k": {"ids": ["01A"], "status": 200}, "/v1/signals": {"data": {"run_id": "01R"}}}


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [(None, 0.2), ("3", 3.0), ("0", 0.2), ("600", 30.0), ("soon", 0.2), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.2)],
)
def test_the_longer_pause_wins_within_reason(asked: str | None, seconds: float) -> None:
    answer = httpx2.Response(503, headers={} if asked is None else {"retry-after": asked})
    assert pause_s(0.2, answer) == seconds
    assert pause_s(0.2, None) == 0.2


@pytest.mark.parametrize("path", SENT)
async def test_who_was_refused_comes_again_when_it_was_told_to(path: str) -> None:
    came: list[tuple[float, str | None]] = []

    async def answer(request: web.Request) -> web.Response:
        came.append((asyncio.get_running_loop().time(), request.headers.get("x-inngest-event-id-seed")))
        if len(came) == 1:
            return web.json_response({"error": "full", "status": 503}, status=503, headers={"Retry-After": "1.5"})
        return web.json_response(SENT[path])

    app = web.Application()
    app.router.add_post(path, answer)
    async with TestServer(app) as server:
        url = str(server.make_url("/")).rstrip("/")
        options: dict[str, Any] = {"event_api_base_url": url, "api_base_url": url, "event_key": "k"}
        client = Client("shop", is_production=False, **options)
        if path == "/e/k":
            assert await client.send({"name": "a"}) == ["01A"]
        else:
            assert await client.send_signal("s", 1) == "01R"
    (first, seed), (second, again) = came
    assert second - first >= 1.5
    assert seed == again
