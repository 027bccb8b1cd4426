"""Whatever a server or a network does to a request becomes a clear outcome, soon."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from stepwell.server.fetcher import client
from stepwell.server.fetcher.body import read_body
from stepwell.server.fetcher.client import AiohttpFetcher, Limits
from stepwell.server.fetcher.guard import Guard
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchPolicy, FetchRequest, FetchResponse, Timeouts
from tests.server.hostile_server import Exchange, Script, hostile, plain, redirect

SECRETS = "token=hunter2"


@pytest.fixture
async def fetcher() -> AsyncIterator[AiohttpFetcher]:
    made = AiohttpFetcher(Guard(allow_private=True))
    yield made
    await made.close()


def broken(outcome: FetchOutcome) -> FetchBroken:
    assert isinstance(outcome, FetchBroken), outcome
    assert SECRETS not in outcome.message
    assert outcome.message.endswith(".")
    assert outcome.elapsed_ms > 0
    return outcome


async def get(fetcher: AiohttpFetcher, base: str, **policy: object) -> FetchBroken:
    request = FetchRequest(url=f"{base}/?{SECRETS}", policy=FetchPolicy(**policy))  # type: ignore[arg-type]
    return broken(await fetcher.fetch(request))


async def cut(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    exchange.writer.close()


async def reset_in_body(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    exchange.reset()


async def cut_chunks(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe")
    exchange.writer.close()


async def hang_up(exchange: Exchange) -> None:
    exchange.writer.close()


async def reset(exchange: Exchange) -> None:
    exchange.reset()


async def silence(exchange: Exchange) -> None:
    await exchange.reader.read()


async def drip(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        await exchange.send(b"x")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("script", [cut, reset_in_body, cut_chunks, hang_up, reset])
async def test_lost_connections_are_read_errors(fetcher: AiohttpFetcher, script: object) -> None:
    async with hostile(script) as server:  # type: ignore[arg-type]
        outcome = await get(fetcher, server.url)
        assert (outcome.kind, outcome.sent, outcome.final) == ("read", True, False)
        assert f"127.0.0.1:{server.port}" in outcome.message


async def test_a_request_is_never_sent_again_in_silence(fetcher: AiohttpFetcher) -> None:
    """A pooled connection that the server closes on the second request: one outcome, one more request seen."""
    async with hostile(plain(), hang_up, plain()) as server:
        assert isinstance(await fetcher.fetch(FetchRequest(url=server.url + "/")), FetchResponse)
        outcome = await get(fetcher, server.url)
        assert outcome.kind == "read"
        assert len(server.seen) == 2
        assert isinstance(await fetcher.fetch(FetchRequest(url=server.url + "/")), FetchResponse)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_a_protocol_error(fetcher: AiohttpFetcher, answer: bytes) -> None:
    async with hostile(answer) as server:
        outcome = await get(fetcher, server.url)
        assert (outcome.kind, outcome.sent, outcome.final) == ("protocol", True, False)


@pytest.mark.parametrize("lines", [[70_000], [60_000] * 30])
async def test_a_head_without_end_is_cut(fetcher: AiohttpFetcher, lines: list[int]) -> None:
    async with hostile(plain(b"", "200 OK", *("X: " + "v" * size for size in lines))) as server:
        outcome = await fetcher.fetch(FetchRequest(url=server.url + "/"))
        assert isinstance(outcome, FetchBroken)
        assert (outcome.kind, outcome.message.partition(": ")[2]) == (
            "protocol",
            "the head of the server's answer is larger than the platform takes.",
        )


async def test_silence_ends_at_the_read_timeout(fetcher: AiohttpFetcher) -> None:
    async with hostile(silence) as server:
        outcome = await get(fetcher, server.url, timeouts=Timeouts(read=0.1))
        assert (outcome.kind, outcome.sent, outcome.final) == ("timeout", True, False)
        assert 90 < outcome.elapsed_ms < 5000
        assert "sent nothing" in outcome.message


async def test_a_slow_drip_ends_at_the_deadline(fetcher: AiohttpFetcher) -> None:
    async with hostile(drip) as server:
        outcome = await get(fetcher, server.url, timeouts=Timeouts(read=5), deadline_ms=200)
        assert outcome.kind == "timeout"
        assert 190 < outcome.elapsed_ms < 5000


async def test_a_connection_that_does_not_come_about_ends_at_the_connect_timeout(fetcher: AiohttpFetcher) -> None:
    """A server whose queue is full answers no SYN (Linux)."""
    with socket.socket() as server, ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(server.getsockname())
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        outcome = await get(fetcher, url, timeouts=Timeouts(connect=0.2), deadline_ms=20_000)
    assert (outcome.kind, outcome.sent, outcome.final) == ("timeout", False, False)
    assert "no connection came about" in outcome.message


@pytest.mark.parametrize("phase", ["read", "write"])
async def test_an_attempt_may_take_as_long_as_the_longest_of_its_phases(phase: str) -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.5)
        await exchange.send(plain(b"late"))

    made = AiohttpFetcher(Guard(allow_private=True), Limits(total=0.1))
    async with hostile(slow) as server:
        policy = FetchPolicy(timeouts=Timeouts(**{phase: 30.0}))
        found = await made.fetch(FetchRequest(url=server.url + "/", policy=policy))
        assert isinstance(found, FetchResponse), found
        bounded = await get(made, server.url, timeouts=Timeouts(**{phase: 30.0}), deadline_ms=100)
        for outcome in (bounded, await get(made, server.url)):
            assert (outcome.kind, "its time was up" in outcome.message) == ("timeout", True)
    await made.close()


async def test_who_gets_no_place_in_the_pool_ends_at_the_pool_timeout() -> None:
    made = AiohttpFetcher(Guard(allow_private=True), Limits(connections=1))
    async with hostile(silence) as server:
        first = asyncio.ensure_future(made.fetch(FetchRequest(url=server.url + "/")))
        async with asyncio.timeout(20):
            while not server.seen:
                await asyncio.sleep(0.01)
        outcome = await get(made, server.url, timeouts=Timeouts(connect=0.1, pool=0.1), deadline_ms=20_000)
        assert (outcome.kind, outcome.sent) == ("timeout", False)
        assert "no connection came about" in outcome.message
        assert len(server.seen) == 1
        first.cancel()
        await asyncio.wait([first])
    await made.close()


async def test_a_server_that_takes_nothing_ends_at_the_write_timeout(fetcher: AiohttpFetcher) -> None:
    async def stall(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    async with hostile(stall, read_body=False) as server:
        policy = FetchPolicy(timeouts=Timeouts(write=0.2))
        body = b"x" * 40_000_000
        request = FetchRequest(url=server.url + "/", method="POST", body=body, policy=policy)
        outcome = broken(await fetcher.fetch(request))
        assert (outcome.kind, outcome.sent) == ("timeout", True)
        assert "took nothing" in outcome.message


async def test_a_reset_while_the_body_is_sent(fetcher: AiohttpFetcher) -> None:
    async with hostile(reset, read_body=False) as server:
        request = FetchRequest(url=server.url + "/", method="POST", body=b"x" * 40_000_000)
        outcome = broken(await fetcher.fetch(request))
        assert outcome.kind in ("write", "read")
        assert (outcome.sent, outcome.final) == (True, False)


@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large_a_body_is_cut(fetcher: AiohttpFetcher, chunked: bool) -> None:
    async def endless(exchange: Exchange) -> None:
        if not chunked:
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000000\r\n\r\n")
        else:
            await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await exchange.send(b"x" * 65536 if not chunked else b"10000\r\n" + b"x" * 65536 + b"\r\n")

    async with hostile(endless) as server:
        outcome = await get(fetcher, server.url, max_body=1_000_000)
        assert (outcome.kind, outcome.final) == ("too_large", True)
        assert "1000000 bytes" in outcome.message
        await asyncio.wait_for(server.gone.wait(), 5)


async def test_a_body_of_just_the_limit_is_taken(fetcher: AiohttpFetcher) -> None:
    async with hostile(plain(b"x" * 1000)) as server:
        url, policy = server.url + "/", FetchPolicy(max_body=1000)
        assert isinstance(await fetcher.fetch(FetchRequest(url=url, policy=policy)), FetchResponse)
        assert (await get(fetcher, server.url, max_body=999)).kind == "too_large"


async def test_redirect_loops_end(fetcher: AiohttpFetcher) -> None:
    async with hostile(redirect("/again")) as server:
        outcome = await get(fetcher, server.url)
        assert (outcome.kind, outcome.sent, outcome.final) == ("redirect", True, True)
        assert len(server.seen) == 21
        assert server.connections == 1


@pytest.mark.parametrize("location", ["ftp://h/", "http://", "http://[::1", "//", "http://h:99999/"])
async def test_redirects_to_nowhere(fetcher: AiohttpFetcher, location: str) -> None:
    async with hostile(redirect(location)) as server:
        outcome = await get(fetcher, server.url)
        assert (outcome.kind, outcome.final) == ("redirect", True)


@pytest.mark.parametrize("location", ["http://169.254.169.254/latest", "http://2852039166/", "http://metadata/"])
async def test_redirects_go_through_the_guard(fetcher: AiohttpFetcher, location: str) -> None:
    async with hostile(redirect(location)) as server:
        outcome = await get(fetcher, server.url)
        assert (outcome.kind, outcome.sent, outcome.final) == ("guard", True, True)


async def test_refused_connections(fetcher: AiohttpFetcher) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        outcome = await get(fetcher, f"http://127.0.0.1:{port}")
    assert (outcome.kind, outcome.sent, outcome.final) == ("connect", False, False)
    assert "refused" in outcome.message


async def test_tls_to_a_silent_server_ends_at_the_deadline(fetcher: AiohttpFetcher) -> None:
    async with hostile(plain()) as server:
        outcome = await get(fetcher, server.url.replace("http:", "https:"), deadline_ms=200)
        assert (outcome.kind, outcome.sent, outcome.final) == ("timeout", False, False)


async def test_tls_failures_are_named(fetcher: AiohttpFetcher) -> None:
    async def not_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(plain())
        writer.close()

    listener = await asyncio.start_server(not_tls, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        outcome = await get(fetcher, f"https://127.0.0.1:{port}")
        assert (outcome.kind, outcome.sent, outcome.final) == ("tls", False, False)


async def test_names_that_do_not_resolve() -> None:
    def lookup(host: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    fetcher = AiohttpFetcher(lookup=lookup)
    outcome = await get(fetcher, "http://nowhere.test")
    assert (outcome.kind, outcome.sent, outcome.final) == ("dns", False, False)
    await fetcher.close()


async def test_slow_name_servers_end_at_their_timeout() -> None:
    done = threading.Event()

    def lookup(host: str) -> list[str]:
        done.wait(5)
        return []

    fetcher = AiohttpFetcher(lookup=lookup, limits=Limits(dns=0.1))
    outcome = await get(fetcher, "http://slow.test")
    done.set()
    assert (outcome.kind, outcome.sent) == ("timeout", False)
    await fetcher.close()


async def test_cancelling_aborts_the_request(fetcher: AiohttpFetcher) -> None:
    async with hostile(silence) as server:
        task = asyncio.create_task(fetcher.fetch(FetchRequest(url=server.url + "/")))
        await asyncio.wait_for(server.arrived.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.gone.wait(), 5)


async def test_closing_ends_what_is_in_flight(fetcher: AiohttpFetcher) -> None:
    async with hostile(silence) as server:
        task = asyncio.create_task(fetcher.fetch(FetchRequest(url=server.url + "/")))
        await asyncio.wait_for(server.arrived.wait(), 30)
        await fetcher.close()
        outcome = broken(await asyncio.wait_for(task, 30))
        assert outcome.sent
        assert (await get(fetcher, server.url)).kind == "aborted"


async def half(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await exchange.reader.read()


async def half_of_a_hop(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 100\r\n\r\nhalf")
    await exchange.reader.read()


@pytest.mark.parametrize(("script", "kind"), [(half, "read"), (half_of_a_hop, "aborted")])
async def test_closing_ends_what_is_being_read(
    fetcher: AiohttpFetcher, script: Script, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = asyncio.Event()

    async def told(*args: Any) -> Any:
        reading.set()
        return await read_body(*args)

    monkeypatch.setattr(client, "read_body", told)
    async with hostile(script) as server, asyncio.timeout(20):
        task = asyncio.create_task(fetcher.fetch(FetchRequest(url=server.url + "/")))
        await reading.wait()
        await fetcher.close()
        assert broken(await task).kind == kind


async def test_switched_protocols_have_no_result(fetcher: AiohttpFetcher) -> None:
    async with hostile(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n") as server:
        outcome = await get(fetcher, server.url)
        assert (outcome.kind, outcome.final) == ("invalid", True)
