"""The TypeScript examples on the unmodified npm SDK: they start, register, and report the ops of the protocol."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.examples.typescript_app import Calls, typescript_app

pytestmark = pytest.mark.node
REGISTERED = web.AppKey("registered", list[Any])


async def register(request: web.Request) -> web.Response:
    """Take a registration as a platform does."""
    request.app[REGISTERED].append(await request.json())
    return web.json_response({"ok": True, "modified": True})


@pytest.fixture
async def platform() -> AsyncIterator[TestServer]:
    """The least of a platform: it takes registrations."""
    app = web.Application()
    app[REGISTERED] = []
    app.router.add_post("/fn/register", register)
    async with TestServer(app) as server:
        yield server


@pytest.fixture
async def app(platform: TestServer, sample_api: str) -> AsyncIterator[str]:
    async with typescript_app(platform=str(platform.make_url("")).rstrip("/"), sample_api=sample_api) as url:
        yield url


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
        yield client


async def test_it_answers_get_and_registers_its_functions(
    app: str, platform: TestServer, http: httpx2.AsyncClient
) -> None:
    assert (await http.get(app)).json()["function_count"] == 3
    synced = await http.put(app)
    assert (synced.status_code, synced.json()["modified"]) == (200, True)
    (body,) = platform.app[REGISTERED]
    functions = {function["id"]: function for function in body["functions"]}
    assert set(functions) == {
        "examples-ts-retrieve-text-file",
        "examples-ts-process-files",
        "examples-ts-weather-function",
    }
    assert functions["examples-ts-process-files"]["concurrency"] == 10
    assert functions["examples-ts-retrieve-text-file"]["triggers"] == [{"event": "ts/file.wanted"}]


async def test_a_fetch_is_reported_as_a_gateway_op(app: str, sample_api: str, http: httpx2.AsyncClient) -> None:
    answer = await Calls(app, "examples-ts-retrieve-text-file", "ts/file.wanted", {}).call(http)
    (op,) = answer.json()
    assert answer.status_code == 206
    assert answer.headers["x-inngest-sdk"].startswith("inngest-js:v4.")
    assert (op["op"], op["id"]) == ("Gateway", "ea1a1fbbc498392feea60c99d4d82ec7a6610642")
    assert op["opts"]["url"] == f"{sample_api}/files/stepwell.txt"
    assert op["opts"]["method"] == "GET"


async def test_retrieve_text_file(app: str, http: httpx2.AsyncClient) -> None:
    calls = Calls(app, "examples-ts-retrieve-text-file", "ts/file.wanted", {"word": "well"})
    assert await calls.result(http) == {"name": "stepwell.txt", "word": "well", "count": 2}
    assert len(calls.requests) == 1


async def test_process_files_asks_for_all_at_once(app: str, http: httpx2.AsyncClient) -> None:
    calls = Calls(app, "examples-ts-process-files", "ts/files.wanted", {"files": [f"{n}.txt" for n in range(12)]})
    ops = (await calls.call(http)).json()
    assert [op["op"] for op in ops] == ["Gateway"] * 12
    result = await calls.result(http)
    assert result["files"] == 12
    assert result["words"] > 12 * 60
    assert len(calls.requests) == 12


async def test_weather_function_makes_the_ai_clients_durable(
    app: str, sample_api: str, http: httpx2.AsyncClient
) -> None:
    calls = Calls(app, "examples-ts-weather-function", "ts/weather.asked", {})
    result = await calls.result(http)
    assert result["answer"].count("celsius") == 2
    assert result["summary"] == f"You said: Say this shorter: {result['answer']}"
    paths = [request["url"].removeprefix(sample_api) for request in calls.requests]
    tools = ["/weather?city=Oslo", "/weather?city=Rome"]
    assert paths == ["/v1/messages", *tools, "/v1/messages", "/v1/chat/completions"]
