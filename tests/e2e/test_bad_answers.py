"""Apps that answer nonsense, or not at all: the run ends with a message that says what to do, or goes on once they recover."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from tests.e2e.ugly import SDK, Answer, Call, bare, ops, returned, step_run

MIB = 1 << 20


def always(status: int, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers or {})

    return answer


async def hangs(call: Call, request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return returned()


async def drips(call: Call, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(status=200, headers=SDK)
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.02)


async def hangs_up(call: Call, request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return returned()


async def breaks_off(call: Call, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(status=200, headers={**SDK, "content-length": "1000"})
    await response.prepare(request)
    await response.write(b'{"half":')
    assert request.transport is not None
    request.transport.abort()
    return response


async def bomb(call: Call, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(status=200, headers=SDK)
    await response.prepare(request)
    for _ in range(40):
        await response.write(b"[" * MIB)
    return response


async def redirects(call: Call, request: web.Request) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect(str(request.url))


CASES: dict[str, tuple[Answer, str, str]] = {
    "html": (
        always(200, b"<html><h1>Welcome</h1></html>", {"content-type": "text/html"}),
        "did not come from an SDK",
        "check the app's URL",
    ),
    "html error": (always(502, b"<html>bad gateway</html>"), "status 502", "check the app's URL"),
    "not found": (always(404, b"{}", SDK), "status 404", "sync the app again"),
    "no json": (always(200, b"<html>", SDK), "return value can not be read", "<html>"),
    "ops no json": (always(206, b"oops", SDK), "steps that the app reported can not be read", "oops"),
    "ops of a wrong shape": (
        always(206, b'[{"id": 7}]', SDK),
        "steps that the app reported can not be read",
        "it begins: ",
    ),
    "no ops": (always(206, b"[]", SDK), "no new steps", "skipped in a replay"),
    "unknown opcode": (
        always(206, b'[{"op":"Teleport","id":"a"}]', SDK),
        "unknown opcode 'Teleport'",
        "update the platform",
    ),
    "op without an id": (
        always(206, b'[{"op":"StepPlanned","id":"a"},{"op":"StepPlanned"}]', SDK),
        "StepPlanned op that has no id",
        "",
    ),
    "status of no meaning": (always(299, b"hm", SDK), "status 299", "hm"),
    "hangs": (hangs, "no answer within 0.3 s", "STEPWELL_CALL_TIMEOUT"),
    "drips": (drips, "no answer within 0.3 s", "STEPWELL_CALL_TIMEOUT"),
    "hangs up": (hangs_up, "could not be called (Server disconnected)", "check that it runs"),
    "breaks off": (breaks_off, "could not be called", "check that it runs"),
    "redirects for ever": (redirects, "redirects more than 60 times", "the right URL"),
}


@pytest.mark.parametrize("name", CASES)
async def test_an_app_that_answers_nonsense(name: str, tmp_path: Path) -> None:
    answer, what, to_do = CASES[name]
    async with bare(tmp_path, answer, retries=1, call_timeout_s=0.3) as rig:
        result = await rig.run()
        assert result.status == "failed"
        assert what in result.output["message"]
        assert to_do in result.output["message"]
        if name != "redirects for ever":
            assert len(rig.endpoint.calls) == 2, "it is tried again, as often as the function says"


async def test_a_huge_answer_is_not_asked_for_again(tmp_path: Path) -> None:
    async with bare(tmp_path, bomb, retries=3) as rig:
        result = await rig.run()
        assert result.status == "failed"
        assert (
            "more than 8388608 bytes: return less from the function or its steps, send less" in result.output["message"]
        )
        assert "return" in result.output["message"]
        assert len(rig.endpoint.calls) == 1


@pytest.mark.parametrize("name", ["html", "unknown opcode", "hangs", "hangs up", "breaks off", "op without an id"])
async def test_an_app_that_recovers_loses_nothing(name: str, tmp_path: Path) -> None:
    """One step is on record, then two calls go wrong: the run goes on where it was."""
    broken = CASES[name][0]

    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        if "first" not in call["steps"]:
            return ops(step_run("first", "kept"))
        return await broken(call, request) if call["ctx"]["attempt"] < 2 else returned(call["steps"]["first"]["data"])

    async with bare(tmp_path, answer, retries=2, call_timeout_s=0.3) as rig:
        result = await rig.run()
        assert (result.status, result.output) == ("completed", "kept")
        assert [call["ctx"]["attempt"] for call in rig.endpoint.calls] == [0, 0, 1, 2]
