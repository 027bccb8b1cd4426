"""An app behind a redirect gets the same call at the new place; whatever the redirect's status, it is never a GET."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec.structs import replace

from stepwell.server.caller.http import HttpCaller
from stepwell.server.clock import SystemClock
from stepwell.wire.calls import AnswerKind, CallRequest
from tests.ports import free_port
from tests.server.hostile_server import hostile, plain


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirected_call_is_still_a_call(status: int) -> None:
    seen: list[tuple[str, bytes, str]] = []

    async def moved(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"location": f"/new?{request.query_string}"})

    async def serve(request: web.Request) -> web.Response:
        seen.append((request.method, await request.read(), request.query["stepId"]))
        return web.Response(status=200, body=b'{"function_count":1}', headers={"x-inngest-sdk": "js:v4"})

    app = web.Application()
    app.router.add_route("*", "/old", moved)
    app.router.add_route("*", "/new", serve)
    caller = HttpCaller(SystemClock(), timeout_s=5)
    async with TestServer(app) as server:
        url = str(server.make_url("/old"))
        answer = await caller.call(CallRequest(function_id="a-f", run_id="r", events=[b"{}"], url=url))
        await caller.close()
    assert answer.kind is AnswerKind.RETURNED
    [(method, body, step)] = seen
    assert (method, step) == ("POST", "step")
    assert body.startswith(b'{"ctx":')


async def test_an_answer_that_no_call_asked_for_is_of_none() -> None:
    answers = [plain(body, "200 OK", "x-inngest-sdk: js:v4") for body in (b'"first"', b'"second"', b'"third"')]
    caller = HttpCaller(SystemClock(), timeout_s=5)
    call = CallRequest(function_id="a-f", run_id="r", events=[b"{}"])
    try:
        async with hostile(*answers) as server, hostile(*answers) as other:
            await caller.call(replace(call, url=server.url + "/"))
            await server.seen[0].send(plain(b'"nobodys"', "200 OK", "x-inngest-sdk: js:v4"))
            await caller.call(replace(call, url=other.url + "/"))  # what was sent before that has been read
            for body in (b'"second"', b'"third"'):
                answer = await caller.call(replace(call, url=server.url + "/"))
                assert (answer.kind, answer.data) == (AnswerKind.RETURNED, body)
    finally:
        await caller.close()


async def test_an_app_that_can_not_be_called_is_named_without_its_password() -> None:
    caller = HttpCaller(SystemClock(), timeout_s=5)
    url = f"http://me:hunter2@127.0.0.1:{free_port()}/api?token=hunter2"
    answer = await caller.call(CallRequest(function_id="a-f", run_id="r", events=[b"{}"], url=url))
    await caller.close()
    assert answer.error is not None
    assert "the app at http://***@127.0.0.1" in answer.error.message
    assert "hunter2" not in answer.error.message
