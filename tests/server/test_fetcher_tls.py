"""TLS: certificates are checked, and a context of one's own is taken. The certificate here is made up for these tests."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from stepwell.server.fetcher.client import AiohttpFetcher
from stepwell.server.fetcher.guard import Guard
from stepwell.server.fetcher.tls import client_context
from stepwell.wire.fetch import FetchBroken, FetchRequest, FetchResponse
from tests.server.hostile_server import hostile, plain

PEM = Path(__file__).parent / "tls"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with _serving() as found:
        yield found


@asynccontextmanager
async def _serving(handshake_s: float = 0.0) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(plain(b"safe", "200 OK", "Connection: close"))
        writer.close()
        await writer.wait_closed()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM / "server.pem")
    context.sni_callback = lambda *_: time.sleep(handshake_s)
    listener = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with listener:
        yield listener.sockets[0].getsockname()[1]


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_tls_is_a_phase_of_its_own(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The server takes its time for the handshake: that is where it shows, whichever loop runs."""

    async def run() -> FetchResponse | FetchBroken:
        async with _serving(handshake_s=0.15) as port:
            return await ask(f"https://tls.test:{port}/", client_context(str(PEM / "cert.pem")))

    with asyncio.Runner(loop_factory=make_loop) as runner:
        outcome = runner.run(run())
    assert isinstance(outcome, FetchResponse), outcome
    phases = outcome.phases
    assert phases.dns is not None
    assert phases.connect is not None
    assert phases.tls is not None
    assert phases.tls >= 150
    assert phases.dns + phases.connect + phases.tls <= outcome.elapsed_ms


async def test_plain_requests_have_no_tls_phase() -> None:
    async with hostile(plain()) as server:
        outcome = await ask(server.url + "/")
        assert outcome.phases.connect is not None
        assert outcome.phases.tls is None


async def test_a_handshake_that_fails_has_its_phase(port: int) -> None:
    outcome = await ask(f"https://tls.test:{port}/")
    assert isinstance(outcome, FetchBroken)
    assert outcome.phases.tls is not None
    assert outcome.phases.connect is not None


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
