"""``step.ai.infer`` of the unmodified npm and Python SDKs: the sample provider's answers, and errors."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from examples.sample_api.app import make_app
from tests.conformance.sdks.conftest import Pair, pair

HERE = Path(__file__).parent
COMMANDS = {"npm": ["node", str(HERE / "ai_probe.mjs")], "python": [sys.executable, str(HERE / "ai_python.py")]}


@pytest.fixture(params=[pytest.param("npm", marks=pytest.mark.node), "python"])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    async with pair(tmp_path, COMMANDS[request.param]) as running:
        yield running


async def ask(app: Pair, kind: str, url: str) -> Any:
    (run,) = await app.run("ai/infer", {"kind": kind, "url": url})
    assert run["status"] == "Completed", run
    return run["output"]


async def test_models_of_the_sample_provider_answer(app: Pair) -> None:
    async with TestServer(make_app()) as provider:
        base = str(provider.make_url("/v1"))
        chat = await ask(app, "openai", base)
        assert chat["next"] == "went on"
        assert chat["found"]["choices"][0]["message"]["content"] == "You said: Hello you"
        message = await ask(app, "anthropic", base)
        assert message["found"]["content"][0]["text"] == "You said: Hello you"


async def test_each_provider_gets_the_key_once_and_refusals_are_errors(app: Pair) -> None:
    seen: list[web.Request] = []

    async def refuse(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response({"error": "who are you"}, status=403)

    provider = web.Application()
    provider.router.add_route("*", "/{rest:.*}", refuse)
    async with TestServer(provider) as server:
        for kind, header, value in (
            ("openai", "authorization", ["Bearer sk-npm"]),
            ("anthropic", "x-api-key", ["sk-npm"]),
            ("gemini", "authorization", []),
        ):
            error = await ask(app, kind, str(server.make_url("/v1")))
            assert error["message"] == "Error making AI request: unsuccessful status code: 403"
            assert seen[-1].headers.getall(header, []) == value
            assert seen[-1].headers.getall("content-type") == ["application/json"]
    assert [request.query.getall("key", []) for request in seen] == [[], [], ["sk-npm"]]
