"""What else has something stored, while the database is away: re-runs, pauses, syncs, and the call-backs of upstreams."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from stepwell.wire.constants import CALLBACK_URL
from tests.e2e.ugly import Call, api, bare, finish, ops, returned, until
from tests.faults.test_unavailable import stopped_database, the_run

REGISTRATION = {"appName": "late", "url": "http://127.0.0.1:1/x", "sdk": "js:v4", "framework": "", "v": "0.1"}


async def test_nothing_else_is_confirmed_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: asyncio.Queue[str] = asyncio.Queue()

    async def upstream(request: web.Request) -> web.Response:
        asked.put_nowait(await request.text())
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/", upstream)

    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        if call["steps"] or not call["event"]["data"]:
            return returned("done")
        headers = {"stepwell-callback": "true", "stepwell-idempotency-key": "none"}
        opts = {"url": call["event"]["data"]["url"], "method": "POST", "headers": headers, "body": CALLBACK_URL}
        return ops({"op": "Gateway", "id": "g", "displayName": "g", "opts": opts})

    async with (
        TestServer(app) as server,
        stopped_database(monkeypatch) as trouble,
        bare(tmp_path, answer, **trouble.settings) as made,
    ):
        waiting = await made.platform.send("go", {"url": str(server.make_url("/"))})
        called = (await asyncio.wait_for(asked.get(), 30)).removeprefix(made.platform.url)
        run = await the_run(made, waiting)
        over = await made.platform.send("go", {})
        await finish(made.platform, over)
        ended = await the_run(made, over)
        requests: list[tuple[str, str, Any]] = [
            ("POST", called, {"done": True}),
            ("POST", f"/v1/runs/{ended}/rerun", {}),
            ("POST", "/v1/functions/bare-f/pause", {}),
            ("POST", "/fn/register", {**REGISTRATION, "functions": []}),
        ]
        await trouble.fail(made)
        for method, path, body in requests:
            status, headers, said = await api(made.platform, method, path, json=body)
            assert (status, headers.get("retry-after"), said["code"]) == (503, "1", "store"), (path, said)
        async with aiohttp.ClientSession(made.platform.url) as session:
            for path in (f"/runs/{run}", "/events"):
                async with session.get(path) as page:
                    assert (page.status, page.headers["retry-after"]) == (503, "1"), path
        await trouble.mend(made)

        async def works() -> bool:
            return (await api(made.platform, "GET", f"/v1/runs/{run}"))[0] == 200

        await until(works, 40)
        _, _, functions = await api(made.platform, "GET", "/v1/functions")
        assert [(each["id"], each["paused"]) for each in functions["data"] if each["app"] in ("bare", "late")] == [
            ("bare-f", False)
        ]
        assert len((await api(made.platform, "GET", "/v1/runs"))[2]["data"]) == 2, "no run was begun anew"

        async def taken() -> bool:
            return (await api(made.platform, "POST", called, json={"done": True}))[0] == 200

        await until(taken, 40)  # the upstream comes again, as it was told
        assert (await finish(made.platform, waiting, 40)).output == "done"
