"""Large responses on a real file: stored while they arrive, exact to the byte, and nothing is left of those that failed."""

import asyncio
import base64
import hashlib
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import stepwell
from stepwell.embed import Result
from stepwell.server.crypto.pieces import sealed_size
from stepwell.server.store.base import PIECE_BYTES
from stepwell.server.store.sqlite.bodyfiles import folder_of
from tests.e2e.ugly import finish, platform, until
from tests.server.hostile_server import Exchange, Script, hostile, plain

MIB = 1 << 20
BODY = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(3 * MIB // 32 + 11))
"""Not a byte of it comes twice in the same place, compressed or moved."""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def chunked(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for start in range(0, len(BODY), 70_001):
        part = BODY[start : start + 70_001]
        await exchange.send(b"%x\r\n%b\r\n" % (len(part), part))
    await exchange.send(b"0\r\n\r\n")


async def until_closed(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY)
    exchange.writer.close()


async def dies(exchange: Exchange) -> None:
    """After more than two pieces."""
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY[: 2 * PIECE_BYTES + 99])
    exchange.reset()


class Endless:
    """Sends until nobody listens; ``sent`` counts."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with suppress(OSError):
            while self.sent < 200 * MIB:
                await exchange.send(b"10000\r\n%b\r\n" % bytes(65536))
                self.sent += 65536


Handler = Callable[[Any], Awaitable[Any]]


async def go(folder: Path, handler: Handler, retries: int = 2, **settings: Any) -> Result:
    client = stepwell.Client("app")
    client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"), retries=retries)(handler)
    async with platform(folder, client, **settings) as running:
        return await finish(running, await running.send("go", {}))


def left(folder: Path) -> tuple[int, int, list[int]]:
    """How many bodies there are, how many arrive, and the sizes of their files."""
    with sqlite3.connect(folder / "ugly.db") as conn:
        rows = "SELECT (SELECT count(*) FROM bodies), (SELECT count(*) FROM arriving)"
        return (*conn.execute(rows).fetchone(), stored(folder / "ugly.db"))


def stored(db: Path) -> list[int]:
    """The sizes of the files of bodies."""
    return [path.stat().st_size for path in folder_of(db).glob("*")]


def fetching(url: str, **options: Any) -> Handler:
    async def f(ctx: stepwell.Context) -> Any:
        response = await ctx.step.fetch(url, **options)
        return [response.status_code, digest(response.content)]

    return f


DIGEST = digest(BODY)
PIECE = sealed_size(PIECE_BYTES)
SEALED = 3 * PIECE + sealed_size(len(BODY) - 3 * PIECE_BYTES)
KEPT = (1, 0, [SEALED])
NOTHING = (0, 0, list[int]())


@pytest.mark.parametrize("script", [plain(BODY), chunked, until_closed], ids=["announced", "chunked", "until closed"])
@pytest.mark.parametrize("replay", [False, True])
async def test_a_large_body_is_exact_and_in_pieces(tmp_path: Path, script: Script, replay: bool) -> None:
    async with hostile(script) as server:
        result = await go(tmp_path, fetching(server.url), always_replay=replay)
    assert result.output == [200, digest(BODY)]
    assert left(tmp_path) == KEPT


async def test_it_dies_in_the_middle_and_is_sent_again(tmp_path: Path) -> None:
    async with hostile(dies, dies, plain(BODY)) as server:
        result = await go(tmp_path, fetching(server.url))
    assert result.output == [200, digest(BODY)]
    assert left(tmp_path) == KEPT


async def test_it_dies_every_time(tmp_path: Path) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        try:
            await ctx.step.fetch(server.url)
        except stepwell.FetchError as error:
            return [error.kind, error.attempts]

    async with hostile(dies) as server:
        result = await go(tmp_path, f)
        assert len(server.seen) == 3
    assert result.output == ["read", 3]
    assert left(tmp_path) == NOTHING


async def test_of_a_status_that_is_tried_again_the_last_body_is_kept(tmp_path: Path) -> None:
    async with hostile(plain(BODY[::-1], "503 No"), plain(BODY, "503 No")) as server:
        result = await go(tmp_path, fetching(server.url), retries=1)
    assert result.output == [503, digest(BODY)]
    assert left(tmp_path) == KEPT


async def test_a_body_over_the_limit_is_cut_as_soon_as_that_is_known(tmp_path: Path) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        try:
            await ctx.step.fetch(f"{server.url}/{ctx.event.name}")
        except stepwell.FetchError as error:
            return [error.kind, error.attempts, error.message]

    endless = Endless()
    async with hostile(endless) as server:
        result = await go(tmp_path, f, max_body=2 * MIB)
        assert len(server.seen) == 1, "it is not tried again"
        await server.gone.wait()
    assert result.output[:2] == ["too_large", 1]
    assert f"larger than the limit of {2 * MIB} bytes" in result.output[2]
    assert endless.sent < 30 * MIB, "what the sockets hold, and no more"
    assert left(tmp_path) == NOTHING


async def test_an_announced_body_over_the_limit_is_not_read(tmp_path: Path) -> None:
    async def announce(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000000\r\n\r\n")

    async def f(ctx: stepwell.Context) -> Any:
        try:
            await ctx.step.fetch(server.url)
        except stepwell.FetchError as error:
            return error.kind

    async with hostile(announce) as server:
        assert (await go(tmp_path, f)).output == "too_large"
        assert len(server.seen) == 1


async def test_a_request_has_a_limit_of_its_own(tmp_path: Path) -> None:
    async with hostile(plain(BODY)) as server:
        result = await go(tmp_path, fetching(server.url, max_body="4MiB"), max_body=MIB)
    assert result.output == [200, digest(BODY)]


async def test_a_run_that_is_cancelled_leaves_no_piece(tmp_path: Path) -> None:
    async def stalls(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY[: 2 * PIECE_BYTES])
        await exchange.reader.read()

    client = stepwell.Client("app")

    async with hostile(stalls) as server:
        client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"))(fetching(server.url))
        async with platform(tmp_path, client) as running:
            event = await running.send("go", {})
            await until(lambda: stored(tmp_path / "ugly.db") != [])
            view = await running.view_of(event)
            assert view is not None
            await running._host.ask(running._host_engine().cancel(view.run.run_id))
            assert (await finish(running, event)).status == "cancelled"
    assert left(tmp_path) == NOTHING


async def test_a_reader_who_comes_late_gets_all_of_it_from_the_record(tmp_path: Path) -> None:
    """The window of what still arrives is 1 MiB: its beginning has left it."""
    gate = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        at = 5 * PIECE_BYTES // 2
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY[:at])
        async with asyncio.timeout(20):
            await gate.wait()
        await exchange.send(BODY[at:])

    client = stepwell.Client("app")
    async with hostile(slow) as server:
        client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"))(fetching(server.url, id="get"))
        async with platform(tmp_path, client) as running:
            event = await running.send("go", {})
            await until(lambda: stored(tmp_path / "ugly.db") == [2 * PIECE])
            view = await running.view_of(event)
            assert view is not None
            found: list[bytes] = []
            url = f"{running.url}/v1/runs/{view.run.run_id}/steps/get/stream"
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                async for line in response.content:
                    if line.startswith(b": still here"):
                        gate.set()
                    if line.startswith(b"data: ") and (data := json.loads(line[6:])).keys() & {"b64", "text"}:
                        found.append(base64.b64decode(data["b64"]) if "b64" in data else data["text"].encode())
            assert (await finish(running, event)).output == [200, DIGEST]
            view = await running.view_of(event)
            assert view is not None
            assert [attempt.size for step in view.steps.values() for attempt in step.attempts] == [len(BODY)]
    assert digest(b"".join(found)) == DIGEST
