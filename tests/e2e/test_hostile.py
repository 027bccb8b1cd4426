"""What a hostile server does to a durable request, and what the function gets: each behaviour, with its one outcome."""

import asyncio
import gzip
import random
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

import brotli
import httpx2
import pytest
from backports import zstd

from stepwell import Client, Context, FetchError, Retry, TriggerEvent, embedded
from tests.server.hostile_server import Exchange, Server, hostile, plain, redirect

Script = bytes | Callable[[Exchange], Awaitable[None]]
GO = TriggerEvent(event="go")
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "br": partial(brotli.compress, quality=5),
    "zstd": zstd.compress,
}


async def ask(folder: Path, server: Server, **options: Any) -> httpx2.Response | FetchError:
    """The outcome of one durable request, of two attempts at most."""
    client = Client(app_id="hostile")
    got: list[httpx2.Response | FetchError] = []
    options = {"retry": Retry(attempts=2, min_delay=0, max_delay=0), **options}

    @client.create_function(fn_id="f", trigger=GO, retries=0)
    async def f(ctx: Context) -> None:
        try:
            got.append(await ctx.step.fetch(server.url + "/", **options))
        except FetchError as error:
            got.append(error)

    async with embedded(client, db=f"sqlite:///{folder}/a.db", hosts={"*": {"slow_down": False}}) as platform:
        (result,) = await platform.send_and_wait("go", timeout=30)
    assert result.status == "completed"
    assert all(isinstance(each, type(got[0])) for each in got), "a replay gets what the first one got"
    return got[-1]


async def reset(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    exchange.reset()


async def short(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    exchange.writer.close()


async def drip(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        await exchange.send(b"x")
        await asyncio.sleep(0.02)


async def endless(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000000\r\n\r\n")
    for _ in range(3_000_000_000 // 65_536):
        await exchange.send(b"x" * 65_536)


@pytest.mark.parametrize("script", [reset, short])
async def test_a_body_that_breaks_off_is_tried_again(tmp_path: Path, script: Script) -> None:
    async with hostile(script, plain(b"whole")) as server:
        found = await ask(tmp_path, server)
        assert isinstance(found, httpx2.Response)
        assert found.content == b"whole"
        assert len(server.seen) == 2


@pytest.mark.parametrize("script", [reset, short])
async def test_a_body_that_always_breaks_off_is_a_read_error(tmp_path: Path, script: Script) -> None:
    async with hostile(script) as server:
        found = await ask(tmp_path, server)
        assert isinstance(found, FetchError)
        assert (found.kind, found.attempts, len(server.seen)) == ("read", 2, 2)


async def test_a_slow_drip_ends_at_the_deadline(tmp_path: Path) -> None:
    async with hostile(drip) as server:
        found = await ask(tmp_path, server, deadline=0.4)
        assert isinstance(found, FetchError)
        assert (found.kind, len(server.seen)) == ("timeout", 1)


async def test_more_than_was_announced_is_no_part_of_the_body_nor_of_the_next(tmp_path: Path) -> None:
    longer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst" + plain(b"smuggled")
    async with hostile(longer) as server:
        for folder in ("a", "b"):
            found = await ask(tmp_path / folder, server)
            assert isinstance(found, httpx2.Response)
            assert found.content == b"first"


async def test_two_lengths_that_differ_are_no_http(tmp_path: Path) -> None:
    async with hostile(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\nfirstmore") as server:
        found = await ask(tmp_path, server)
        assert isinstance(found, FetchError)
        assert found.kind == "protocol"


@pytest.mark.parametrize("noise", [0, 500_000], ids=["small", "stored while it arrives"])
@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_a_bomb_is_cut(tmp_path: Path, coding: str, noise: int) -> None:
    """The platform finds it, before anybody's client undoes it; to ask again would bring the same."""
    bomb = PACK[coding](random.Random(1).randbytes(noise) + bytes(3_000_000))
    async with hostile(plain(bomb, "200 OK", f"Content-Encoding: {coding}")) as server:
        found = await ask(tmp_path, server, max_body=2_000_000)
        assert isinstance(found, FetchError)
        assert (found.kind, found.attempts, len(server.seen)) == ("too_large", 1, 1)
        assert "decodes to more than the limit of 2000000 bytes" in str(found)
        assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 1_000_000


async def test_an_encoded_body_under_the_limit_is_recorded_as_it_came(tmp_path: Path) -> None:
    packed = gzip.compress(bytes(10_000_000))
    async with hostile(plain(packed, "200 OK", "Content-Encoding: gzip")) as server:
        found = await ask(tmp_path, server)
        assert isinstance(found, httpx2.Response)
        assert int(found.headers["content-length"]) == len(packed)
        assert found.content == bytes(10_000_000)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 5_000_000


async def test_redirect_loops_end(tmp_path: Path) -> None:
    async with hostile(redirect("/again")) as server:
        found = await ask(tmp_path, server)
        assert isinstance(found, FetchError)
        assert (found.kind, found.attempts, len(server.seen)) == ("redirect", 1, 21)


@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/latest/", "http://metadata.google.internal/", "//0xa9fea9fe/"]
)
async def test_a_redirect_to_metadata_is_denied(tmp_path: Path, location: str) -> None:
    async with hostile(redirect(location)) as server:
        found = await ask(tmp_path, server)
        assert isinstance(found, FetchError)
        assert (found.kind, len(server.seen)) == ("guard", 1)


async def test_each_set_cookie_is_kept(tmp_path: Path) -> None:
    lines = ("Set-Cookie: a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "Set-Cookie: b=2", "Set-Cookie: a=3")
    async with hostile(plain(b"", "200 OK", *lines)) as server:
        found = await ask(tmp_path, server)
        assert isinstance(found, httpx2.Response)
        assert found.headers.get_list("set-cookie") == [line.partition(": ")[2] for line in lines]


async def test_interim_answers_are_passed_over(tmp_path: Path) -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with hostile(early + plain(b"done")) as server:
        found = await ask(tmp_path, server)
        assert isinstance(found, httpx2.Response)
        assert (found.status_code, found.content, len(server.seen)) == (200, b"done", 1)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_of_3_gb_is_cut_at_the_cap(tmp_path: Path, announced: bool) -> None:
    async def unannounced(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _ in range(3_000_000_000 // 65_536):
            await exchange.send(b"x" * 65_536)

    async with hostile(endless if announced else unannounced) as server:
        found = await ask(tmp_path, server, max_body="2MiB")
        assert isinstance(found, FetchError)
        assert (found.kind, found.attempts, len(server.seen)) == ("too_large", 1, 1)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 10_000_000


@pytest.mark.parametrize(
    "said",
    ["0", "-5", "soon", "", "1e999", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Foo 2026", "9" * 400, "\xff\xfe"],
)
async def test_a_retry_after_of_the_past_or_of_garbage_holds_nobody_up(tmp_path: Path, said: str) -> None:
    async with hostile(plain(b"", "503 Busy", f"Retry-After: {said}"), plain(b"done")) as server:
        found = await asyncio.wait_for(ask(tmp_path, server), 20)
        assert isinstance(found, httpx2.Response)
        assert (found.content, len(server.seen)) == (b"done", 2)


@pytest.mark.parametrize("date", [True, False])
async def test_a_retry_after_in_the_future_is_waited_for(tmp_path: Path, date: bool) -> None:
    """It comes after the deadline: so the answer stands, and nothing is sent again."""
    said = formatdate(time.time() + 3600, usegmt=True) if date else "3600"
    async with hostile(plain(b"busy", "429 Later", f"Retry-After: {said}"), plain(b"done")) as server:
        found = await ask(tmp_path, server, deadline=5)
        assert isinstance(found, httpx2.Response)
        assert (found.status_code, len(server.seen)) == (429, 1)
