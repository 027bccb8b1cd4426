"""What a plain httpx2 client puts on the wire, a durable request puts there too; what it reads, is recorded."""

import asyncio
import gzip
from typing import Any

import httpx2
import pytest

from stepwell.core.fetches import prepare
from stepwell.server.fetcher.client import AiohttpFetcher
from stepwell.server.fetcher.guard import Guard
from stepwell.wire.fetch import FetchRequest, FetchResponse
from stepwell.wire.gateway import parse_gateway, render_gateway
from tests.server.hostile_server import Exchange, hostile, plain

EXEMPT = {b"idempotency-key", b"user-agent", b"connection"}


def seen(exchange: Exchange) -> tuple[bytes, list[bytes], bytes]:
    """Request line, sorted headers but for the exempt ones, body."""
    kept = [line for line in exchange.lines[1:] if line.split(b":")[0].lower() not in EXEMPT]
    return (
        exchange.lines[0],
        sorted(line.split(b":")[0].lower() + b":" + line.split(b":", 1)[1] for line in kept),
        exchange.body,
    )


def durable(request: httpx2.Request) -> FetchRequest:
    """The way of a request through our SDK and the platform."""
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw)
    made = FetchRequest(url=str(request.url), method=request.method, headers=headers, body=request.read() or None)
    return prepare(parse_gateway(render_gateway(made)), "run", "step")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"headers": [("X-A", "1"), ("X-A", "2"), ("accept", "x/y"), ("Cookie", "a=1; b=2")]},
        {"params": {"q": "\u00e4 &+%", "e": ""}},
        {"content": b"\x00\xff\r\n"},
        {"content": b""},
        {"json": {"a": "\u20ac"}},
        {"data": {"a": "1 2", "b": "&"}},
        {"files": {"f": ("n\u00e4me.bin", bytes(range(256)), "application/x")}},
        {"content": b"z" * 200_000},
    ],
)
async def test_requests_are_the_same(method: str, extra: dict[str, Any]) -> None:
    async with hostile(b"HTTP/1.1 204 No Content\r\n\r\n") as server:
        fetcher = AiohttpFetcher(Guard(allow_private=True))
        async with httpx2.AsyncClient(trust_env=False) as client:
            request = client.build_request(method, server.url + "/a%2Fb/\u00fc", **extra)
            again = durable(request)
            await client.send(request)
            outcome = await fetcher.fetch(again)
        await fetcher.close()
        assert isinstance(outcome, FetchResponse), outcome
        assert seen(server.seen[1]) == seen(server.seen[0])


@pytest.mark.parametrize(
    "answer",
    [
        plain(b"text", "200 OK", "Set-Cookie: a=1", "Set-Cookie: b=2", "X-E:", "X-L: \xe9"),
        plain(gzip.compress(b"packed", mtime=0), "404 Not Found", "content-encoding: gzip"),
        plain(bytes(range(256)), "599 Odd"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ],
)
async def test_responses_are_the_same(answer: bytes) -> None:
    async with hostile(answer) as server:
        fetcher = AiohttpFetcher(Guard(allow_private=True))
        outcome = await fetcher.fetch(FetchRequest(url=server.url + "/"))
        await fetcher.close()
        async with httpx2.AsyncClient(trust_env=False) as client, client.stream("GET", server.url + "/") as plain_one:
            raw = b"".join([chunk async for chunk in plain_one.aiter_raw()])
            pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in plain_one.headers.raw]
        assert isinstance(outcome, FetchResponse)
        assert (outcome.status, list(outcome.headers), outcome.body) == (plain_one.status_code, pairs, raw)
        await asyncio.sleep(0)
