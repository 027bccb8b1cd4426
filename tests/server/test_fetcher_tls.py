"""TLS: certificates are checked, and a context of one's own is taken. The certificate here is made up for these tests."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stepwell.server.fetcher.client import AiohttpFetcher
from stepwell.server.fetcher.guard import Guard
from stepwell.wire.fetch import FetchBroken, FetchRequest, FetchResponse
from tests.server.hostile_server import plain

PEM = Path(__file__).parent / "tls"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(plain(b"safe", "200 OK", "Connection: close"))
        writer.close()
        await writer.wait_closed()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM / "server.pem")
    listener = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with listener:
        yield listener.sockets[0].getsockname()[1]


async def ask(url: str, tls: ssl.SSLContext | None = None) -> FetchResponse | FetchBroken:
    fetcher = AiohttpFetcher(Guard(allow_private=True), tls=tls, lookup=lambda _: ["127.0.0.1"])
    try:
        return await fetcher.fetch(FetchRequest(url=url))
    finally:
        await fetcher.close()


async def test_unknown_certificates_are_refused(port: int) -> None:
    outcome = await ask(f"https://tls.test:{port}/")
    assert isinstance(outcome, FetchBroken)
    assert (outcome.kind, outcome.sent, outcome.final) == ("tls", False, False)
    assert "certificate: self-signed" in outcome.message.replace("self signed", "self-signed")


@pytest.mark.parametrize("host", ["tls.test", "127.0.0.1"])
async def test_trusted_certificates_are_taken(port: int, host: str) -> None:
    outcome = await ask(f"https://{host}:{port}/", ssl.create_default_context(cafile=PEM / "cert.pem"))
    assert isinstance(outcome, FetchResponse), outcome
    assert outcome.body == b"safe"


async def test_another_hosts_certificate_is_refused(port: int) -> None:
    outcome = await ask(f"https://other.test:{port}/", ssl.create_default_context(cafile=PEM / "cert.pem"))
    assert isinstance(outcome, FetchBroken)
    assert outcome.kind == "tls"
    assert "other.test" in outcome.message
