"""When a function reads a response along, and when it gets the record instead, as a replay would have it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import stepwell
from stepwell.sdk.drivers.preview import Preview
from stepwell.server import streams
from stepwell.transports import httpx as durable_httpx
from stepwell.transports import httpx2 as durable_httpx2
from stepwell.wire.fetch import FetchBroken, FetchResponse
from stepwell.wire.memos import error_memo, memo
from tests.e2e.ugly import finish, platform, until
from tests.server.hostile_server import Exchange, hostile


class Upstream:
    """Answers with the next status and its first bytes; with the rest once the test has opened the gate."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.statuses = [200]
        self.rest = [b"two"]
        self.began = self.done = 0
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        response = web.StreamResponse(status=status, headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        await response.write(b"one ")
        self.began += 1
        async with asyncio.timeout(20):
            await self.gate.wait()
        for piece in self.rest:
            await response.write(piece)
            await asyncio.sleep(0.01)  # so that it is read piece by piece
        self.done += 1
        return response


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()
    app = web.Application()
    app.add_routes([web.route("*", "/", made.answer)])
    async with TestServer(app) as server:
        made.url = str(server.make_url("/"))
        yield made
        made.gate.set()


def client(**options: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=durable_httpx2.AsyncDurableTransport(**options))


async def order_of(folder: Path, upstream: Upstream, handler: Any, order: list[str], began: int = 1) -> Any:
    """Run it, and open the gate when so many responses have begun and whoever would read along has had the time to."""
    made = stepwell.Client("app")
    made.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"), retries=1)(handler)
    async with platform(folder, made) as running:
        event = await running.send("go", {})
        await until(lambda: upstream.began == began, 30)
        await asyncio.sleep(0.1)
        order.append("gate")
        upstream.gate.set()
        return await finish(running, event)


async def test_requests_side_by_side_get_the_record(tmp_path: Path, upstream: Upstream) -> None:
    order: list[str] = []

    async def read(http: httpx2.AsyncClient) -> str:
        async with http.stream("GET", upstream.url) as response:
            order.append("head")
            return (await response.aread()).decode()

    async def f(ctx: stepwell.Context) -> Any:
        async with client() as http:
            return await asyncio.gather(read(http), read(http))

    result = await order_of(tmp_path, upstream, f, order, began=2)
    assert result.output == ["one two"] * 2
    assert order == ["gate", "head", "head"]


async def test_inside_of_a_time_out_it_is_the_record(tmp_path: Path, upstream: Upstream) -> None:
    order: list[str] = []

    async def f(ctx: stepwell.Context) -> Any:
        async with client() as http, asyncio.timeout(600), http.stream("GET", upstream.url) as response:
            order.append("head")
            return (await response.aread()).decode()

    assert (await order_of(tmp_path, upstream, f, order)).output == "one two"
    assert order == ["gate", "head"]


async def test_while_another_task_goes_on_it_is_the_record(tmp_path: Path, upstream: Upstream) -> None:
    order: list[str] = []

    async def f(ctx: stepwell.Context) -> Any:
        read: asyncio.Queue[str] = asyncio.Queue()

        async def watch() -> str:
            return await read.get()

        watching = asyncio.create_task(watch())
        async with client() as http, http.stream("GET", upstream.url) as response:
            order.append("head")
            read.put_nowait((await response.aread()).decode())
        return await watching

    assert (await order_of(tmp_path, upstream, f, order)).output == "one two"
    assert order == ["gate", "head"]


@pytest.mark.parametrize("options", [{}, {"headers": {"stepwell-poll": "true"}}])
async def test_what_will_not_be_the_record_is_not_shown(tmp_path: Path, upstream: Upstream, options: Any) -> None:
    upstream.statuses = [503, 200]
    order: list[str] = []

    async def f(ctx: stepwell.Context) -> Any:
        async with client() as http, http.stream("GET", upstream.url, **options) as response:
            order.append(f"head {response.status_code}")
            return (await response.aread()).decode()

    assert (await order_of(tmp_path, upstream, f, order)).output == "one two"
    assert order == ["gate", "head 200"]


async def test_time_outs_go_on_once_the_record_is_made(tmp_path: Path, upstream: Upstream) -> None:
    over = threading.Event()

    async def f(ctx: stepwell.Context) -> Any:
        async with client() as http, http.stream("GET", upstream.url) as response:
            upstream.gate.set()
            await response.aread()
        try:
            async with asyncio.timeout(0.05):
                await asyncio.get_running_loop().run_in_executor(None, over.wait, 10)
                return "went on"
        except TimeoutError:
            return "timed out"
        finally:
            over.set()

    assert (await order_of(tmp_path, upstream, f, [])).output == "timed out"


@pytest.mark.parametrize("library", [(httpx, durable_httpx), (httpx2, durable_httpx2)], ids=["httpx", "httpx2"])
async def test_elapsed_is_the_recorded_time(tmp_path: Path, upstream: Upstream, library: Any) -> None:
    lib, durable = library
    seen: list[float] = []

    async def f(ctx: stepwell.Context) -> Any:
        async with lib.AsyncClient(transport=durable.AsyncDurableTransport()) as http:  # noqa: SIM117
            async with http.stream("GET", upstream.url) as response:
                upstream.gate.set()
                text = (await response.aread()).decode()
        seen.append(response.elapsed.total_seconds())
        if len(seen) == 1:
            raise ConnectionError("the next attempt has the record")
        return text

    assert (await order_of(tmp_path, upstream, f, [])).output == "one two"
    assert upstream.began == 1
    assert seen[0] == seen[1] > 0


@pytest.mark.parametrize("library", [(httpx, durable_httpx), (httpx2, durable_httpx2)], ids=["httpx", "httpx2"])
async def test_what_is_known_before_the_end(tmp_path: Path, library: Any) -> None:
    lib, durable = library
    gate = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.0 203 Odd\r\nX-A: 1\r\nX-A: 2\r\n\r\none ")
        async with asyncio.timeout(20):
            await gate.wait()
        await exchange.send(b"two")
        exchange.writer.close()

    async def f(ctx: stepwell.Context) -> Any:
        async with lib.AsyncClient(transport=durable.AsyncDurableTransport()) as http:  # noqa: SIM117
            async with http.stream("GET", server.url) as response:
                before = [response.status_code, response.http_version, response.headers.get_list("x-a")]
                gate.set()
                return [before, (await response.aread()).decode()]

    made = stepwell.Client("app")
    made.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"), retries=0)(f)
    async with hostile(answer) as server, platform(tmp_path, made) as running:
        result = await finish(running, await running.send("go", {}))
    assert result.output == [[203, "HTTP/1.0", ["1", "2"]], "one two"]


@pytest.mark.parametrize("size", [20_000, 40_000], ids=["in the state", "beside the state"])
async def test_who_falls_behind_goes_on_from_the_record(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(streams, "WINDOW_BYTES", 1)
    monkeypatch.setattr(streams, "_LEAST", 1)
    upstream.rest = [bytes([65 + number]) * size for number in range(10)]
    behind: list[bool] = []

    async def f(ctx: stepwell.Context) -> Any:
        body = b""
        async with client() as http, http.stream("GET", upstream.url) as response:
            async for piece in response.aiter_raw():
                body += piece
                if not behind:
                    behind.append(len(piece) == 4)
                    upstream.gate.set()
                    await asyncio.get_running_loop().run_in_executor(None, sent.wait, 20)
        return [len(body), body == b"one " + b"".join(upstream.rest)]

    sent = threading.Event()

    async def watch() -> None:
        await until(lambda: upstream.done == 1, 30)
        await asyncio.sleep(0.1)
        sent.set()

    watching = asyncio.ensure_future(watch())
    result = await order_of(tmp_path, upstream, f, [])
    await watching
    assert behind == [True]
    assert result.output == [4 + 10 * size, True]


HEAD = FetchResponse(status=200, url="http://up/", headers=(("x", "1"),))


@pytest.mark.parametrize(
    ("record", "agrees"),
    [
        (memo(msgspec.structs.replace(HEAD, body=b"whole"), rich=True), True),
        (memo(msgspec.structs.replace(HEAD, status=500), rich=True), False),
        (memo(msgspec.structs.replace(HEAD, headers=(("x", "2"),)), rich=True), False),
        (error_memo(FetchBroken(kind="read", message="it broke off"), 2, rich=True), False),
    ],
)
def test_a_record_is_what_was_shown_or_the_execution_is_given_up(record: bytes, agrees: bool) -> None:
    class Live:
        head = HEAD
        broken: str | None = None

        async def read(self, offset: int) -> bytes:
            return b""

    live: Any = Live()
    reader: Any = None
    assert Preview(reader, "hash", live).agrees(record, "run") is agrees
    live.broken = "reset"
    assert not Preview(reader, "hash", live).agrees(record, "run")
