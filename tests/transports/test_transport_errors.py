"""A real request without a response raises what the plain client raises for the same fault, with our error as its cause."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import urllib3

import stepwell
from stepwell.testing import ScriptedHttp, arun_function
from stepwell.testing.rules import _FINAL
from stepwell.testing.rules import KINDS as RULES_KINDS
from stepwell.transports import aiohttp as durable_aiohttp
from stepwell.transports import httpx as durable_httpx
from stepwell.transports import httpx2 as durable_httpx2
from stepwell.transports import requests as durable_requests
from stepwell.transports.urllib3 import DurablePoolManager
from tests.server.hostile_server import Exchange, hostile, plain, redirect

PAGE = Path(__file__).parents[2] / "docs" / "durable-http.md"
LONG_FORM = os.environ.get("CI") == "true"
STEER = {"too_large": {"stepwell-max-body": "1"}, "redirect": {"stepwell-follow-redirects": "true"}}
OURS = {"guard", *STEER}
"""What befalls durable requests only."""
SHORT, LONG = 0.3, 20
HTTPX = {
    "dns": "ConnectError",
    "connect": "ConnectError",
    "tls": "ConnectError",
    "guard": "ConnectError",
    "timeout": "ReadTimeout",
    "no connection": "ConnectTimeout",
    "read": "ReadError",
    "too_large": "ReadError",
    "protocol": "RemoteProtocolError",
    "redirect": "TooManyRedirects",
}
AIOHTTP = {
    "dns": "ClientConnectorDNSError",
    "connect": "ClientConnectorError",
    "tls": "ClientConnectorSSLError",
    "guard": "ClientConnectorError",
    "timeout": "SocketTimeoutError",
    "no connection": "ConnectionTimeoutError",
    "read": "ClientPayloadError",
    "too_large": "ClientPayloadError",
    "protocol": "ClientResponseError",
    "redirect": "ClientConnectionError",
}
URLLIB3 = {
    "dns": "MaxRetryError NameResolutionError",
    "connect": "MaxRetryError NewConnectionError",
    "tls": "MaxRetryError SSLError",
    "guard": "MaxRetryError NewConnectionError",
    "timeout": "MaxRetryError ReadTimeoutError",
    "no connection": "MaxRetryError ConnectTimeoutError",
    "read": "MaxRetryError ProtocolError",
    "too_large": "MaxRetryError ProtocolError",
    "protocol": "MaxRetryError ProtocolError",
    "redirect": "MaxRetryError ProtocolError",
}
REQUESTS = dict.fromkeys(HTTPX, "ConnectionError") | {
    "tls": "SSLError", "timeout": "ReadTimeout", "no connection": "ConnectTimeout"
}  # fmt: skip
KINDS = {"no connection": "timeout"}
"""Of faults that are called otherwise here."""


async def cut(exchange: Exchange) -> None:
    """A reset in the middle of the body."""
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly")
    sock = exchange.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.reset()


async def silence(exchange: Exchange) -> None:
    await exchange.reader.read()


async def not_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(plain())
    writer.close()


@contextmanager
def crowded() -> Iterator[str]:
    """A URL whose port lets connections wait that are never taken: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        place = listener.getsockname()
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(place)
        yield f"http://127.0.0.1:{place[1]}/"


@pytest.fixture
async def faults(refused: str) -> AsyncIterator[dict[str, str]]:
    """A URL for each kind of ``FetchError`` that a server can bring about, for time-outs before and after it is sent."""
    urls = {"dns": "http://nowhere.invalid/", "connect": refused, "guard": "http://169.254.169.254/"}
    scripts: dict[str, Any] = {
        "timeout": silence,
        "read": cut,
        "too_large": plain(b"xx"),
        "protocol": b"HTTP/1.1 abc\r\n\r\n",
        "redirect": redirect("/"),
    }
    async with AsyncExitStack() as stack:
        for kind, script in scripts.items():
            urls[kind] = (await stack.enter_async_context(hostile(script))).url + "/"
        listener = await stack.enter_async_context(await asyncio.start_server(not_tls, "127.0.0.1", 0))
        urls["no connection"] = stack.enter_context(crowded())
        urls["tls"] = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
        yield urls


def told(error: Exception) -> list[str]:
    """The class of the exception, that of its reason, and the kind of our error."""
    reason, cause = getattr(error, "reason", None), error.__cause__
    words = [type(error).__name__, *([type(reason).__name__] if isinstance(reason, Exception) else [])]
    return [" ".join(words), cause.kind if isinstance(cause, stepwell.FetchError) else ""]


async def by_httpx(lib: Any, transport: Any, url: str, timeout: float, headers: Any) -> Any:
    async with lib.AsyncClient(timeout=timeout, **({"transport": transport} if transport else {})) as http:
        return await http.get(url, headers=headers)


def by_httpx_sync(lib: Any, transport: Any, url: str, timeout: float, headers: Any) -> Any:
    with lib.Client(timeout=timeout, **({"transport": transport} if transport else {})) as http:
        return http.get(url, headers=headers)


async def by_aiohttp(make: Any, url: str, timeout: float, headers: Any) -> Any:
    async with make(timeout=aiohttp.ClientTimeout(sock_connect=timeout, sock_read=timeout)) as http:
        return await (await http.get(url, headers=headers, allow_redirects=False)).read()


def by_requests(make: Any, url: str, timeout: float, headers: Any) -> Any:
    with make() as http:
        return http.get(url, headers=headers, timeout=timeout, allow_redirects=False)


def by_urllib3(make: Any, url: str, timeout: float, headers: Any) -> Any:
    return make(timeout=timeout).request("GET", url, headers=headers, redirect=False)


async def of_async(ask: Any, *args: Any) -> list[str]:
    try:
        await ask(*args)
    except Exception as error:
        return told(error)
    return ["a response", ""]


def of_sync(ask: Any, *args: Any) -> list[str]:
    try:
        ask(*args)
    except Exception as error:
        return told(error)
    return ["a response", ""]


ASYNC: list[Any] = [
    (by_httpx, [httpx, durable_httpx.AsyncDurableTransport(retry=1)], [httpx, None], HTTPX),
    (by_aiohttp, [lambda **o: durable_aiohttp.durable_session(retry=1, **o)], [aiohttp.ClientSession], AIOHTTP),
    (by_httpx, [httpx2, durable_httpx2.AsyncDurableTransport(retry=1)], [httpx2, None], HTTPX),
]
SYNC: list[Any] = [
    (by_requests, [lambda: durable_requests.durable_session(retry=1)], [requests.Session], REQUESTS),
    (by_urllib3, [lambda **o: DurablePoolManager(retry=1, **o)], [urllib3.PoolManager], URLLIB3),
    (by_httpx_sync, [httpx, durable_httpx.DurableTransport(retry=1)], [httpx, None], HTTPX),
    (by_httpx_sync, [httpx2, durable_httpx2.DurableTransport(retry=1)], [httpx2, None], HTTPX),
]


@pytest.mark.parametrize(("ask", "durable", "usual", "expected"), ASYNC if LONG_FORM else ASYNC[:2])
async def test_async_clients(
    run: Any, faults: dict[str, str], ask: Any, durable: Any, usual: Any, expected: dict[str, str]
) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        found: dict[str, Any] = {}
        for kind, url in faults.items():
            timeout = SHORT if KINDS.get(kind, kind) == "timeout" else LONG
            found[kind] = [await of_async(ask, *durable, url, timeout, STEER.get(kind))]
            if kind not in OURS:
                found[kind] += await ctx.step.run(kind, of_async, ask, *usual, url, timeout, None)
        return found

    check(await run(f, timeout=50), expected)


@pytest.mark.parametrize(("ask", "durable", "usual", "expected"), SYNC if LONG_FORM else SYNC[:2])
async def test_sync_clients(
    run: Any, faults: dict[str, str], ask: Any, durable: Any, usual: Any, expected: dict[str, str]
) -> None:
    def f(ctx: stepwell.ContextSync) -> Any:
        found: dict[str, Any] = {}
        for kind, url in faults.items():
            timeout = SHORT if KINDS.get(kind, kind) == "timeout" else LONG
            found[kind] = [of_sync(ask, *durable, url, timeout, STEER.get(kind))]
            if kind not in OURS:
                found[kind] += ctx.step.run(kind, of_sync, ask, *usual, url, timeout, None)
        return found

    check(await run(f, timeout=50), expected)


RARE = {"write": "WriteError", "invalid": "LocalProtocolError", "aborted": "NetworkError", "unknown": "NetworkError"}


@pytest.mark.parametrize(("kind", "name"), RARE.items())
async def test_kinds_that_are_seldom_met(kind: str, name: str) -> None:
    client = stepwell.Client("app")

    @client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"))
    async def f(ctx: stepwell.Context) -> Any:
        return [
            await of_async(by_httpx, httpx, durable_httpx.AsyncDurableTransport(retry=1), "http://x.test/", 1, None),
            await of_async(by_httpx, httpx2, durable_httpx2.AsyncDurableTransport(retry=1), "http://x.test/", 1, None),
            await of_async(
                by_aiohttp, lambda **o: durable_aiohttp.durable_session(retry=1, **o), "http://x.test/", 1, None
            ),
        ]

    @client.create_function(fn_id="g", trigger=stepwell.TriggerEvent(event="go"))
    def g(ctx: stepwell.ContextSync) -> Any:
        return [
            of_sync(by_requests, lambda: durable_requests.durable_session(retry=1), "http://x.test/", 1, None),
            of_sync(by_urllib3, lambda **o: DurablePoolManager(retry=1, **o), "http://x.test/", 1, None),
        ]

    http = ScriptedHttp()
    http.get("http://x.test/").fail(kind)
    found = (await arun_function(f, http=http)).raise_for_error().output
    assert found == [[name, kind], [name, kind], ["ClientConnectionError", kind]]
    found = (await arun_function(g, http=http)).raise_for_error().output
    assert found == [["ConnectionError", kind], ["MaxRetryError ProtocolError", kind]]


def test_the_page_says_so() -> None:
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8")
        .partition("| `kind` | what happened |")[2]
        .split("\n\n")[0]
        .splitlines()
        if line.startswith("| `")
    ]
    found = {row[0].replace("timeout`, not `sent", "no connection"): row[2:] for row in rows}
    for kind, name in RARE.items():
        last = ["ClientConnectionError", "ConnectionError", "ProtocolError"]
        assert found.pop(kind) == ["no" if kind in _FINAL else "yes", name, *last]
    assert found == {
        kind: ["no" if kind in _FINAL else "yes", name, AIOHTTP[kind], REQUESTS[kind], URLLIB3[kind].partition(" ")[2]]
        for kind, name in HTTPX.items()
    }
    assert {*KINDS, *found, *RARE} - {*KINDS} == {*RULES_KINDS}


def check(result: Any, expected: dict[str, str]) -> None:
    assert result.status == "completed", result.output
    assert {kind: found[0] for kind, found in result.output.items()} == {
        kind: [name, KINDS.get(kind, kind)] for kind, name in expected.items()
    }
    usual = {kind: found[1] for kind, found in result.output.items() if kind not in OURS}
    if expected is REQUESTS:  # it tells a body that breaks off from a connection that does: our kind is one for both
        assert usual.pop("read") == "ChunkedEncodingError"
    assert usual == {kind: name for kind, name in expected.items() if kind in usual}
