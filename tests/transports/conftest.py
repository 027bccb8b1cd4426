"""The sample API on a free port, and a platform in this process that runs one function to its end."""

import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import stepwell
from examples.sample_api import make_app
from examples.sample_api.ai import openai_chat
from examples.sample_api.stats import STATS, Stats
from stepwell.embed import Result, embedded

Run = Callable[..., Awaitable[Result]]
STOCK = web.AppKey("stock", dict[str, int])


class Api:
    """A running sample API, its counters, and the headers of the requests in order."""

    def __init__(self, server: TestServer, seen: list[tuple[str, dict[str, str]]]) -> None:
        self.url = str(server.make_url("")).rstrip("/")
        self.seen = seen
        self._app = server.app

    @property
    def stats(self) -> Stats:
        return self._app[STATS]

    def keys(self, path: str) -> list[str | None]:
        """The idempotency keys that came with the requests to this path: None on plain ones."""
        return [headers.get("idempotency-key") for seen, headers in self.seen if seen == path]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    seen: list[tuple[str, dict[str, str]]] = []

    @web.middleware
    async def watch(request: web.Request, handler: Any) -> web.StreamResponse:
        seen.append((request.path, {name.lower(): value for name, value in request.headers.items()}))
        return await handler(request)

    app = make_app()
    app.middlewares.append(watch)
    app.add_routes([web.get("/jump/{n}", jump), web.get("/exact", exact), web.post("/v1/busy/chat/completions", busy)])
    app.add_routes([web.post("/elsewhere", elsewhere)])
    app[STOCK] = {"busy": 2}
    async with TestServer(app) as server:
        yield Api(server, seen)


async def jump(request: web.Request) -> web.Response:
    """Redirects n times, then answers."""
    n = int(request.match_info["n"])
    if n == 0:
        return web.Response(text="landed")
    raise web.HTTPFound(f"/jump/{n - 1}")


async def elsewhere(request: web.Request) -> web.Response:
    """Has the same request made again."""
    await request.read()
    raise web.HTTPTemporaryRedirect("/echo")


async def exact(_request: web.Request) -> web.Response:
    """Bytes that are no text, encoded, with a header that comes twice."""

    response = web.Response(body=gzip.compress(bytes(range(256)), mtime=0), headers={"content-encoding": "gzip"})
    response.headers.add("Set-Cookie", "a=1; Path=/")
    response.headers.add("Set-Cookie", "b=2; Path=/")
    return response


async def busy(request: web.Request) -> web.StreamResponse:
    """429 twice, then the usual answer."""
    stock = request.app[STOCK]
    if stock["busy"]:
        stock["busy"] -= 1
        raise web.HTTPTooManyRequests(headers={"Retry-After": "0"}, text="{}")
    return await openai_chat.completions(request)


@pytest.fixture
def refused() -> Iterator[str]:
    """A URL whose port refuses connections, and stays taken meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(params=["kept", "replayed"])
def replay(request: pytest.FixtureRequest) -> bool:
    """Each test of an async function twice: resumed, and replayed from its record at every call."""
    return request.param == "replayed"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a handler as a function of its own on an embedded platform."""

    async def go(handler: Any, *, always_replay: bool = False, retries: int = 0, timeout: float = 20) -> Result:
        client = stepwell.Client("app")
        client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"), retries=retries)(handler)
        async with embedded(client, db=f"sqlite:///{tmp_path}/stepwell.db", retry_interval=0.05) as platform:
            for executor in platform._executors:
                executor.always_replay = always_replay
            (result,) = await platform.wait(await platform.send("go"), timeout)
        return result

    return go
