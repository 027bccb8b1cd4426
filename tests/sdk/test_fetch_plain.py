"""``stepwell.fetch`` where it is a plain request, against a real server."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import stepwell


class Api:
    def __init__(self) -> None:
        self.url = ""
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append((request.method, request.path, headers, await request.read()))
        if request.path == "/jump":
            raise web.HTTPFound("/landed")
        return web.Response(text="fine")


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    made = Api()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", made.handle)
    async with TestServer(app) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made


async def test_redirects_are_followed_unless_the_caller_says_otherwise(api: Api) -> None:
    landed = await stepwell.fetch(f"{api.url}/jump")
    assert (landed.status_code, str(landed.url), len(landed.history)) == (200, f"{api.url}/landed", 1)
    assert (await stepwell.fetch(f"{api.url}/jump", follow_redirects=False)).status_code == 302
    assert await asyncio.to_thread(lambda: stepwell.fetch(f"{api.url}/jump").status_code) == 200


async def test_a_ready_request_is_sent_as_it_is(api: Api) -> None:
    ready = httpx2.Request("PUT", f"{api.url}/x", headers={"x-a": "1"}, content=b"body")
    assert (await stepwell.fetch(ready)).text == "fine"
    again = httpx2.Request("PUT", f"{api.url}/x", headers={"x-a": "1"}, content=b"body")
    assert await asyncio.to_thread(lambda: stepwell.fetch(again).text) == "fine"
    for method, path, headers, body in api.seen:
        assert (method, path, headers["x-a"], body) == ("PUT", "/x", "1", b"body")


@pytest.mark.parametrize("lib", [httpx, httpx2])
@pytest.mark.parametrize("body", [{}, {"json": {"a": 1}}, {"files": {"f": b"x"}}, {"content": "parts"}])
async def test_requests_and_urls_of_both_libraries_are_sent(api: Api, lib: Any, body: dict[str, Any]) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"on"
        yield b"e"

    made = {"content": parts()} if "content" in body else body
    ready = lib.Request("POST", f"{api.url}/x", headers=[("x-a", "1"), ("x-a", "2")], **made)
    assert (await stepwell.fetch(ready, timeout=20)).text == "fine"
    if "content" not in body:
        ready = lib.Request("POST", f"{api.url}/x", headers=[("x-a", "1"), ("x-a", "2")], **body)
        assert await asyncio.to_thread(lambda: stepwell.fetch(ready, timeout=20).text) == "fine"
    assert (await stepwell.fetch(lib.URL(f"{api.url}/x"), method="PUT")).text == "fine"
    *seen, (method, *_) = api.seen
    assert method == "PUT"
    for method, _, headers, sent in seen:
        assert (method, headers["x-a"]) == ("POST", "2")
        assert {"json": b'{"a":1}', "files": sent, "content": b"one"}.get(next(iter(body), ""), b"") == sent
    assert all((b'name="f"' in sent) is ("files" in body) for *_, sent in seen)


async def test_a_ready_request_has_its_time_out_and_nothing_beside_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stuck:
        ready = httpx2.Request("GET", f"http://127.0.0.1:{stuck.getsockname()[1]}/")
        with pytest.raises(httpx2.ReadTimeout):
            await stepwell.fetch(ready, timeout=0.05)
    assert ready.extensions == {}
    with pytest.raises(TypeError, match="one or the other"):
        await stepwell.fetch(ready, json={"lost": True})


async def test_what_is_for_the_platform_does_not_go_to_the_server(api: Api) -> None:
    headers = {"Stepwell-Timeout": "5s", "stepwell-retries": "1", "x-a": "1"}
    await stepwell.fetch(f"{api.url}/x", headers=headers)
    ready = httpx2.Request("GET", f"{api.url}/x", headers=headers)
    await stepwell.fetch(ready)
    assert "Stepwell-Timeout" in ready.headers
    for _, _, seen, _ in api.seen:
        assert seen["x-a"] == "1"
        assert not [name for name in seen if name.startswith("stepwell-")]


async def test_credentials_and_no_policy_are_sent(api: Api) -> None:
    options: Any = {"auth": ("me", "pass"), "retry": 3, "id": "x", "deadline": "5m", "at_most_once": True}
    await stepwell.fetch(f"{api.url}/x", method="POST", json={"a": 1}, **options)
    ((method, _, headers, body),) = api.seen
    assert (method, body) == ("POST", b'{"a":1}')
    assert headers["authorization"] == "Basic bWU6cGFzcw=="
    assert "idempotency-key" not in headers


@pytest.mark.parametrize("option", ["poll", "callback"])
async def test_only_a_run_can_wait_for_a_long_job(api: Api, option: str) -> None:
    options: Any = {option: True}
    with pytest.raises(stepwell.StepUsageError, match="only a run can wait for a long job"):
        await stepwell.fetch(f"{api.url}/x", **options)
    assert api.seen == []


async def test_a_configured_copy_leaves_the_original_as_it_is(api: Api) -> None:
    strict = stepwell.fetch.config(fallback=None)
    with pytest.raises(stepwell.StepUsageError):
        strict(f"{api.url}/x")
    assert (await stepwell.fetch(f"{api.url}/x")).text == "fine"
    assert (await strict.config()(f"{api.url}/x")).text == "fine"
