"""Proxies, CA bundles and client certificates of hosts: real proxies, real mutual TLS, and what the guard says of them."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import stepwell
from stepwell.core.flow.host_rules import BadHostRule
from stepwell.core.networks import Network, parse_networks
from stepwell.server.fetcher.client import AiohttpFetcher, Limits
from stepwell.server.fetcher.guard import Guard
from stepwell.server.fetcher.networks import BadNetwork, Networks, check_proxies
from stepwell.server.settings import SettingsError, load_settings
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchPolicy, FetchRequest, FetchResponse, Timeouts
from tests.server.hostile_server import hostile, plain, redirect
from tests.server.proxy_server import proxy

PEM = Path(__file__).parent / "tls"
CA, CERT = str(PEM / "cert.pem"), str(PEM / "server.pem")


async def ask(request: FetchRequest | str, networks: object, guard: Guard | None = None) -> FetchOutcome:
    fetcher = AiohttpFetcher(
        guard or Guard(allow=("127.0.0.1",)), networks=Networks(parse_networks(networks)), lookup=_never
    )
    try:
        return await fetcher.fetch(FetchRequest(url=request) if isinstance(request, str) else request)
    finally:
        await fetcher.close()


def _never(host: str) -> list[str]:
    """Behind a proxy, names are the proxy's business."""
    raise AssertionError(f"{host} was looked up here")


@asynccontextmanager
async def mutual() -> AsyncIterator[int]:
    """A server that takes only clients with the test's certificate."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        who = writer.get_extra_info("peercert")["subject"][0][0][1]
        writer.write(plain(who.encode(), "200 OK", "Connection: close"))
        writer.close()
        await writer.wait_closed()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CA)
    context.load_cert_chain(CERT)
    context.verify_mode = ssl.CERT_REQUIRED
    listener = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with listener:
        yield listener.sockets[0].getsockname()[1]


async def test_plain_requests_go_through_the_proxy_whole() -> None:
    async with hostile(plain(b"there")) as server, proxy(server.port) as way:
        request = FetchRequest(
            url="http://far.test/a%2f?b#c", method="POST", body=b"\xff", headers=(("X-A", "\xff"), ("X-B", "1"))
        )
        outcome = await ask(request, {"far.test": {"proxy": way.url}})
        assert isinstance(outcome, FetchResponse), outcome
        assert outcome.body == b"there"
        assert way.targets == [b"POST http://far.test/a%2f?b"]
        assert server.seen[0].header(b"host") == [b"far.test"]
        assert server.seen[0].header(b"x-a") == [b"\xff"]
        assert server.seen[0].body == b"\xff"


async def test_https_goes_through_a_tunnel_and_the_certificate_is_checked() -> None:
    async with mutual() as port, proxy(port) as way:
        network = {"proxy": way.url, "ca": CA, "cert": CERT}
        outcome = await ask("https://tls.test/", {"tls.test": network})
        assert isinstance(outcome, FetchResponse), outcome
        assert outcome.body == b"stepwell test"
        assert way.targets == [b"CONNECT tls.test:443"]
        assert outcome.phases.tls is not None
        other = await ask("https://other.test/", {"*": network})
        assert isinstance(other, FetchBroken)
        assert (other.kind, other.sent) == ("tls", False)


@pytest.mark.parametrize("url", ["http://far.test/", "https://far.test/"])
async def test_the_proxys_password_goes_to_the_proxy_alone(url: str) -> None:
    async with hostile(plain()) as server, proxy(server.port) as way:
        network = {"*": {"proxy": way.url.replace("://", "://me:pass%20word@"), "ca": CA}}
        soon = FetchPolicy(timeouts=Timeouts(connect=1.0))  # nobody answers the handshake behind the tunnel
        outcome = await ask(FetchRequest(url=url, policy=soon), network)
        assert b"Proxy-Authorization: Basic bWU6cGFzcyB3b3Jk" in way.heads[0]
        assert "pass" not in str(outcome)
        assert b"\r\nAuthorization" not in way.heads[0]


async def test_connections_through_a_proxy_are_kept() -> None:
    async with hostile(plain()) as server, proxy(server.port) as way:
        networks = Networks(parse_networks({"*": {"proxy": way.url}}))
        fetcher = AiohttpFetcher(Guard(allow=("127.0.0.1",)), networks=networks)
        for _ in range(3):
            assert isinstance(await fetcher.fetch(FetchRequest(url="http://far.test/")), FetchResponse)
        await fetcher.close()
        assert server.connections == 1


async def test_each_hop_takes_the_way_of_its_host() -> None:
    async with hostile(plain(b"end")) as last, proxy(last.port) as way, hostile(redirect("http://far.test/x")) as first:
        outcome = await ask(first.url + "/", {"far.test": {"proxy": way.url}})
        assert isinstance(outcome, FetchResponse), outcome
        assert outcome.body == b"end"
        assert way.targets == [b"GET http://far.test/x"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://10.0.0.1/",
        "http://169.254.169.254/",
        "http://[::ffff:10.0.0.1]/",
        "http://0x7f.1/",
        "http://2852039166/",
        "http://metadata.google.internal/",
        "http://localhost/",
        "https://a.localhost./",
        "http://db.internal/",
        "http://printer.local/",
        "http://far.test:6379/",
    ],
)
async def test_behind_a_proxy_names_and_literal_addresses_are_judged(url: str) -> None:
    async with hostile(plain()) as server, proxy(server.port) as way:
        guard = Guard(allow=(f"127.0.0.1:{way.port}",))
        outcome = await ask(url, {"*": {"proxy": way.url}}, guard)
        assert isinstance(outcome, FetchBroken), outcome
        assert (outcome.kind, outcome.final, outcome.sent) == ("guard", True, False)
        assert way.heads == []


async def test_the_allow_list_holds_behind_a_proxy_too() -> None:
    async with hostile(plain()) as server, proxy(server.port) as way:
        guard = Guard(allow=(f"127.0.0.1:{way.port}", "*.internal", "10.0.0.0/8"))
        for url in ("http://db.internal/", "http://10.0.0.1/"):
            assert isinstance(await ask(url, {"*": {"proxy": way.url}}, guard), FetchResponse)


async def test_a_proxy_that_is_not_on_the_allow_list_is_never_connected() -> None:
    async with hostile(plain()) as server, proxy(server.port) as way:
        outcome = await ask("http://far.test/", {"*": {"proxy": way.url}}, Guard())
        assert isinstance(outcome, FetchBroken)
        assert (outcome.kind, outcome.final) == ("guard", True)
        assert way.heads == []


@pytest.mark.parametrize("proxy_url", ["http://proxy.test:3128", "http://8.8.8.8:3128", "https://[2606:4700::1111]"])
def test_such_a_proxy_is_refused_at_the_start_even_if_it_is_public(proxy_url: str) -> None:
    networks = parse_networks({"*": {"proxy": proxy_url.replace("://", "://u:hunter2@")}})
    with pytest.raises(BadNetwork, match="STEPWELL_FETCH_ALLOW") as refused:
        check_proxies(networks, Guard(allow_private=True))
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(networks)
    check_proxies(networks, Guard(allow=(proxy_url.partition("://")[2],)))


async def test_the_platform_does_not_start_with_one() -> None:
    with pytest.raises(SettingsError, match="allow-list"):
        async with stepwell.embedded(db="memory:", networks={"*": {"proxy": "http://proxy.test:3128"}}):
            pass


@pytest.mark.parametrize(("url", "answer"), [("https://far.test/", b"HTTP/1.1 403 Forbidden\r\n\r\n")])
async def test_a_tunnel_that_is_refused_is_a_connection_that_failed(url: str, answer: bytes) -> None:
    async with proxy(1, answer) as way:
        outcome = await ask(url, {"*": {"proxy": way.url}})
        assert isinstance(outcome, FetchBroken)
        assert (outcome.kind, outcome.final, outcome.sent) == ("connect", False, False)
        assert "403" in outcome.message


async def test_a_proxy_that_says_nothing_ends_at_the_connect_timeout() -> None:
    async with proxy(1, silent=True) as way:
        networks = Networks(parse_networks({"*": {"proxy": way.url}}))
        fetcher = AiohttpFetcher(Guard(allow=("127.0.0.1",)), Limits(dns=0.1), networks=networks)
        policy = FetchPolicy(timeouts=Timeouts(connect=0.1))
        outcome = await fetcher.fetch(FetchRequest(url="https://far.test/", policy=policy))
        await fetcher.close()
        assert isinstance(outcome, FetchBroken)
        assert (outcome.kind, outcome.sent) == ("timeout", False)


async def test_a_proxy_that_is_not_there() -> None:
    async with proxy(1) as way:
        url = way.url
    outcome = await ask("https://far.test/", {"*": {"proxy": url}})
    assert isinstance(outcome, FetchBroken)
    assert (outcome.kind, outcome.sent) == ("connect", False)
    assert "proxy" in outcome.message


async def test_client_certificates_are_shown_to_their_hosts_alone() -> None:
    async with mutual() as port:
        outcome = await ask(f"https://127.0.0.1:{port}/", {f"127.0.0.1:{port}": {"ca": CA, "cert": CERT}})
        assert isinstance(outcome, FetchResponse), outcome
        assert outcome.body == b"stepwell test"
        without = await ask(f"https://127.0.0.1:{port}/", {"127.0.0.1": {"ca": CA}, "other.test": {"cert": CERT}})
        assert isinstance(without, FetchBroken)


async def test_without_a_bundle_the_systems_is_trusted() -> None:
    async with mutual() as port:
        outcome = await ask(f"https://127.0.0.1:{port}/", {"*": {"cert": CERT}})
        assert isinstance(outcome, FetchBroken)
        assert "certificate" in outcome.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "object"),
        ('{"a b": {}}', "no host"),
        ('{"h": 1}', "object"),
        ('{"h": {"proxies": "x"}}', "'proxies'"),
        ('{"h": {"ca": 1}}', "text"),
        ('{"h": {"key": "k.pem"}}', "cert"),
        ('{"h": {}, "H": {}}', "more than once"),
        ('{"h": {"proxy": "socks5://x"}}', "http://host:port"),
        ('{"h": {"proxy": "proxy:3128"}}', "http://host:port"),
        ('{"h": {"proxy": "http://x/path"}}', "http://host:port"),
        ('{"h": {"proxy": "http://x:99999"}}', "http://host:port"),
        ("{", "no JSON"),
    ],
)
def test_networks_that_make_no_sense(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_settings({}, {"STEPWELL_NETWORKS": text})


@pytest.mark.parametrize("member", ["ca", "cert"])
def test_files_that_can_not_be_used_are_said_at_the_start(member: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    for path, words in ((tmp_path / "none.pem", "no such file"), (bad, "can not be used")):
        bad.write_text("rubbish")
        with pytest.raises(BadNetwork, match=words):
            Networks(parse_networks({"h": {member: str(path)}}))


def test_the_closest_network_holds_alone() -> None:
    networks = parse_networks({"*": {"proxy": "http://p.test"}, "*.corp.test": {"ca": CA}, "api.corp.test": {}})
    found = Networks(networks)
    assert str(found.route("http://x.test/").proxy) == "http://p.test"
    assert found.route("https://x.corp.test:8443/").proxy is None
    assert found.route("https://x.corp.test/").tls is not None
    assert found.route("https://api.corp.test/") == found.route("https://api.corp.test/")
    assert found.route("https://api.corp.test/").tls is None
    assert Network("h", "http://u:p@x:1").proxy_place == ("x", 1)


def test_networks_are_read_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "stepwell.toml"
    path.write_text('[networks."*.corp.test"]\nproxy = "http://p.test:3128"\nca = "corp.pem"\n')
    settings = load_settings({"config": str(path)}, {})
    assert settings.networks == (Network("*.corp.test", "http://p.test:3128", "corp.pem"),)
    with pytest.raises(BadHostRule):
        parse_networks(None)
