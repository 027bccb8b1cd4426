"""What the guard denies is never connected: judged at the name, at the address and at the socket."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from stepwell.server.fetcher.client import AiohttpFetcher
from stepwell.server.fetcher.guard import Guard, GuardDenied
from stepwell.server.fetcher.resolver import GuardedResolver, Lookup
from stepwell.wire.fetch import FetchBroken, FetchRequest, FetchResponse
from stepwell.wire.gateway import BadGateway, parse_gateway
from tests.server.guard_table import NAMES, hostile_urls, idna_urls, userinfo_urls
from tests.server.hostile_server import hostile, plain


def lookup(host: str) -> list[str]:
    if host.rstrip(".") not in NAMES:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")
    return NAMES[host.rstrip(".")]


@asynccontextmanager
async def fetcher(guard: Guard, names: Lookup = lookup) -> AsyncIterator[AiohttpFetcher]:
    made = AiohttpFetcher(guard, lookup=names)
    yield made
    await made.close()


async def test_nothing_hostile_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[object] = []

    async def record(loop: object, sock: object, address: object) -> None:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(type(asyncio.get_running_loop()), "sock_connect", record)
    urls = hostile_urls()
    assert len(urls) > 500
    async with fetcher(Guard()) as client:
        for url in urls:
            outcome = await client.fetch(FetchRequest(url=url))
            assert isinstance(outcome, FetchBroken), url
            assert (outcome.kind, outcome.sent, outcome.final) == ("guard", False, True), (url, outcome)
        outcome = await client.fetch(FetchRequest(url="http://1.1.1.1/"))
        assert isinstance(outcome, FetchBroken)
        assert outcome.kind == "connect"
    assert connected == [("1.1.1.1", 80)]


async def test_no_spelling_of_a_url_leads_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """User, password, other letters and dots: as a step's URL they are read once, and what was read is what is connected."""
    connected: list[object] = []

    async def record(loop: object, sock: object, address: object) -> None:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(type(asyncio.get_running_loop()), "sock_connect", record)
    async with fetcher(Guard()) as client:
        for url in userinfo_urls() + idna_urls():
            try:
                request = parse_gateway(msgspec.json.encode({"url": url, "method": "GET"}))
            except BadGateway:
                continue  # no request is made of it
            outcome = await client.fetch(request)
            assert isinstance(outcome, FetchBroken), url
            assert (outcome.kind, outcome.sent, outcome.final) == ("guard", False, True), (url, outcome)
    assert connected == []


@pytest.mark.parametrize("url", ["http://127.0.0.1@1.1.1.1/", "http://10.0.0.1:80@１.1.1.1/", "http://1。1。1。1/"])
async def test_what_only_seems_to_lead_home_passes(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[object] = []

    async def record(loop: object, sock: object, address: object) -> None:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(type(asyncio.get_running_loop()), "sock_connect", record)
    async with fetcher(Guard()) as client:
        await client.fetch(parse_gateway(msgspec.json.encode({"url": url, "method": "GET"})))
    assert connected == [("1.1.1.1", 80)]


async def test_of_a_name_that_changes_its_mind_the_judged_address_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked up once: what comes to the socket is what was judged, or nothing. So it is while an answer is kept."""
    answers = iter([["1.1.1.1"], ["127.0.0.1"], ["127.0.0.1"], ["1.0.0.1", "127.0.0.1"], ["10.0.0.1"], ["10.0.0.1"]])
    looked: list[str] = []
    connected: list[tuple[str, int]] = []

    async def record(loop: object, sock: object, address: tuple[str, int]) -> None:
        connected.append(address)
        raise ConnectionRefusedError

    def rebinding(host: str) -> list[str]:
        looked.append(host)
        return next(answers)

    monkeypatch.setattr(type(asyncio.get_running_loop()), "sock_connect", record)
    kinds: list[set[str]] = []
    for _ in range(4):
        async with fetcher(Guard(), rebinding) as client:
            outcomes = [await client.fetch(FetchRequest(url="http://rebinding.test/")) for _ in range(2)]
            assert all(isinstance(outcome, FetchBroken) for outcome in outcomes)
            kinds.append({outcome.kind for outcome in outcomes if isinstance(outcome, FetchBroken)})
    assert kinds == [{"connect"}, {"guard"}, {"connect"}, {"guard"}]
    assert set(connected) == {("1.1.1.1", 80), ("1.0.0.1", 80)}
    assert looked == ["rebinding.test"] * 6, "what was denied is looked up again"


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/", "http://[fe80::1]/", "http://[fd00:ec2::254]/", "http://metadata.google.internal/"],
)
async def test_development_never_reaches_metadata(url: str) -> None:
    async with fetcher(Guard(allow_private=True)) as client:
        outcome = await client.fetch(FetchRequest(url=url))
        assert isinstance(outcome, FetchBroken)
        assert outcome.kind == "guard"


async def test_the_socket_is_judged_even_when_nothing_else_was() -> None:
    resolver = GuardedResolver(Guard())
    with pytest.raises(GuardDenied, match=r"127\.0\.0\.1 is a loopback address"):
        resolver.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))
    resolver.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 80))).close()
    await resolver.close()


async def test_a_name_that_leads_to_both_is_connected_in_public_only() -> None:
    resolver = GuardedResolver(Guard(), lambda _: ["10.0.0.1", "1.1.1.1", "::1"])
    assert [found["host"] for found in await resolver.resolve("both.test", 443)] == ["1.1.1.1"]
    await resolver.close()


async def test_a_name_that_changes_its_mind_is_judged_at_each_look_up() -> None:
    answers = iter([["1.1.1.1"], ["127.0.0.1"]])
    resolver = GuardedResolver(Guard(), lambda _: next(answers))
    assert await resolver.resolve("rebinding.test", 80)
    with pytest.raises(GuardDenied, match=r"rebinding\.test leads to 127\.0\.0\.1"):
        await resolver.resolve("rebinding.test", 80)
    await resolver.close()


async def test_an_allowed_name_may_lead_home() -> None:
    async with hostile(plain()) as server:
        guard = Guard(allow=("api.test",))
        async with fetcher(guard, lambda _: ["127.0.0.1"]) as client:
            outcome = await client.fetch(FetchRequest(url=f"http://api.test:{server.port}/"))
            assert isinstance(outcome, FetchResponse), outcome
            outcome = await client.fetch(FetchRequest(url=f"http://127.0.0.1:{server.port}/"))
            assert isinstance(outcome, FetchBroken)
            assert outcome.kind == "guard"


@pytest.mark.parametrize(
    ("allow", "url", "passes"),
    [
        ("10.0.0.0/8", "http://10.1.2.3:8080/", True),
        ("10.0.0.0/8:80", "http://10.1.2.3:8080/", False),
        ("10.0.0.0/8", "http://192.168.1.1/", False),
        ("10.0.0.0/8", "http://[::1]/", False),
        ("127.0.0.1:80", "http://127.0.0.1:8080/", False),
        ("db.test", "http://127.0.0.1/", False),
        ("db.test:6379", "http://1.1.1.1:6379/", False),
        ("10.0.0.0/8:6379", "http://1.1.1.1:6379/", False),
        ("*:6379", "http://1.1.1.1:22/", False),
        (" DB.test ", "http://db.test:22/", True),
        ("db.test", "http://a.db.test:22/", False),
        ("10.0.0.0/8:8080", "http://10.1.2.3:8080/", True),
        ("127.0.0.1", "http://0x7f.1/", True),
        ("[::1]:9000", "http://[::1]:9000/", True),
        ("::1", "http://[::1]:9000/", True),
        ("*:6379", "http://1.1.1.1:6379/", True),
        ("*:6379", "http://10.1.1.1:6379/", False),
        ("*.corp.test", "http://db.corp.test:22/", True),
        ("*.corp.test", "http://corp.test:22/", False),
        ("*.corp.test", "http://evilcorp.test:22/", False),
        ("DB.test:6379", "http://db.test.:6379/", True),
        ("metadata", "http://metadata/", True),
        ("127.1:80", "http://127.0.0.1/", True),
        ("bücher.test", "http://xn--bcher-kva.test:22/", True),
        ("*.Bücher.test.", "http://a.xn--bcher-kva.test:22/", True),
        ("*.bücher.test", "http://xn--bcher-kva.test:22/", False),
    ],
)
def test_allow_list(allow: str, url: str, passes: bool) -> None:
    guard = Guard(allow=(allow,))
    if passes:
        guard.check_url(url)
    else:
        with pytest.raises(GuardDenied):
            guard.check_url(url)


@pytest.mark.parametrize("entry", ["", "*", "10.0.0.0/99", "host:0", "host:99999", "a/b", "ü" * 64])
def test_bad_entries_are_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="allow-list"):
        Guard(allow=(entry,))


@pytest.mark.parametrize("url", ["https://example.com/", "http://example.com:8080/a", "http://[2606:4700::1111]/"])
def test_public_urls_pass(url: str) -> None:
    Guard().check_url(url)
