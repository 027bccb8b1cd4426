"""Real platforms, and apps that misbehave: a bare protocol endpoint whose every answer the test writes, and SDK apps."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from stepwell import Client
from stepwell.embed import Embedded, Result
from stepwell.sdk.serve import Handler
from stepwell.server.host import bind
from stepwell.server.settings import Settings

Call = dict[str, Any]
Answer = Callable[[Call, web.Request], Awaitable[web.StreamResponse]]
SDK = {"x-inngest-sdk": "bare:v1", "x-inngest-req-version": "2", "content-type": "application/json"}


def ops(*items: dict[str, Any], status: int = 206) -> web.Response:
    """An answer that reports steps."""
    return web.Response(status=status, body=msgspec.json.encode(items), headers=SDK)


def step_run(name: str, data: Any = None) -> dict[str, Any]:
    """A step that the app ran."""
    return {"op": "StepRun", "id": name, "displayName": name, "data": data}


def returned(value: Any = None) -> web.Response:
    """The function's return value."""
    return web.Response(status=200, body=msgspec.json.encode(value), headers=SDK)


class Endpoint:
    """An app that speaks the bare protocol. ``answer`` gets each call's body; ``calls`` keeps them."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.calls: list[Call] = []
        self.url = ""

    async def _post(self, request: web.Request) -> web.StreamResponse:
        call: Call = msgspec.json.decode(await request.read())
        self.calls.append(call)
        return await self._answer(call, request)

    def functions(self, retries: int) -> list[dict[str, Any]]:
        """One function, started by the event ``go``."""
        runtime = {"type": "http", "url": f"{self.url}?fnId=bare-f&stepId=step"}
        step = {"id": "step", "name": "step", "runtime": runtime, "retries": {"attempts": retries}}
        return [{"id": "bare-f", "name": "f", "triggers": [{"event": "go"}], "steps": {"step": step}}]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Endpoint"]:
        """Listen on a free port."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/api", self._post)
        async with TestServer(app) as server:
            self.url = str(server.make_url("/api"))
            yield self


@asynccontextmanager
async def platform(folder: Path, *clients: Client, **settings: Any) -> AsyncIterator[Embedded]:
    """A platform with its API on a free port and its state in ``folder``."""
    listener = bind("127.0.0.1", 0)
    defaults: dict[str, Any] = {"retry_interval_ms": 10, "drain_s": 0.2, "discovery": False}
    settings = {**defaults, "db": f"sqlite:///{folder / 'ugly.db'}", "port": listener.getsockname()[1], **settings}
    made = Settings(**settings)
    running = Embedded(made, clients)
    try:
        await running.start(listener)
        yield running
    finally:
        await running.stop()
        listener.close()


@asynccontextmanager
async def bare(folder: Path, answer: Answer, *, retries: int = 2, **settings: Any) -> AsyncIterator["Rig"]:
    """A platform, and on it an app whose every answer comes from ``answer``."""
    async with Endpoint(answer).serving() as endpoint, platform(folder, **settings) as running:
        await running.sync("bare", endpoint.url, endpoint.functions(retries))
        yield Rig(running, endpoint)


class Rig:
    """A platform and its app."""

    def __init__(self, running: Embedded, endpoint: Endpoint) -> None:
        self.platform = running
        self.endpoint = endpoint

    async def run(self, seconds: float = 20.0) -> Result:
        """Start the function, wait for its end."""
        return await finish(self.platform, await self.platform.send("go", {}), seconds)


async def finish(running: Embedded, event_id: str, seconds: float = 20.0) -> Result:
    """The one run of an event, once it has ended; a run that hangs is a TimeoutError."""
    (result,) = await running.wait(event_id, seconds)
    return result


@asynccontextmanager
async def sdk_app(client: Client, port: int = 0) -> AsyncIterator[str]:
    """An app of our SDK behind a real HTTP server; its serve URL. Ending it is a process that goes away."""
    handler = Handler(client)

    async def handle(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        reply = await handler.handle(request.method, str(request.url), headers, await request.read())
        return web.Response(status=reply[0], headers=reply[1], body=reply[2])

    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/api/stepwell", handle)
    async with TestServer(app, port=port) as server:
        try:
            yield str(server.make_url("/api/stepwell"))
        finally:
            await handler.close()


async def sync(running: Embedded, client: Client, url: str) -> None:
    """Register an SDK app as ``stepwell dev -u`` would."""
    await running.sync(client.app_id, url, [function.config(url) for function in client.functions])


async def api(running: Embedded, method: str, path: str, **options: Any) -> tuple[int, dict[str, str], Any]:
    """Ask the platform's API: status, headers (lower-case names), JSON."""
    if "data" in options:
        options["data"] = io.BytesIO(options["data"])
    timeout = aiohttp.ClientTimeout(total=20)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(method, running.url + path, **options) as response,
    ):
        body = await response.read()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return response.status, headers, msgspec.json.decode(body) if body else None


async def until(condition: Callable[[], Awaitable[bool]] | Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until it holds; TimeoutError when it does not come to."""
    async with asyncio.timeout(seconds):
        while True:
            held = condition()
            if (held if isinstance(held, bool) else await held) is True:
                return
            await asyncio.sleep(0.01)
