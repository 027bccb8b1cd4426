"""References to secrets: filled in at the moment of sending, for their hosts alone, and never in what comes back."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec.structs import replace

from stepwell.server.clock import SystemClock
from stepwell.server.fetcher.client import AiohttpFetcher
from stepwell.server.fetcher.guard import Guard
from stepwell.server.secrets.config import build_vault
from stepwell.server.secrets.fetcher import SecretFetcher
from stepwell.server.settings import Settings, SettingsError
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchPolicy, FetchRequest, FetchResponse, Phases
from stepwell.wire.fetch_headers import find
from stepwell.wire.secrets import reference

REF = reference("API_KEY")


# a real upstream


class Upstream:
    """Repeats what it got, redirects, hands out tokens."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str], str]] = []
        self.tokens = 0
        self.valid = ""
        self.token_status = 200
        self.token_answer: dict[str, Any] = {}
        self.token_gate: asyncio.Event | None = None
        self.elsewhere = ""

    async def echo(self, request: web.Request) -> web.Response:
        body = await request.text()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append((request.raw_path, headers, body))
        if request.path == "/jump":
            raise web.HTTPTemporaryRedirect(
                f"{self.elsewhere}/landed{request.query_string and '?' + request.query_string}"
            )
        if request.path == "/guarded" and headers.get("authorization") != f"Bearer {self.valid}":
            raise web.HTTPUnauthorized(text="no")
        shown = json.dumps({"path": request.raw_path, "headers": headers, "body": body})
        response = web.Response(text=shown, headers={"X-Echo": headers.get("x-key", "")})
        if request.path == "/zipped":
            response.enable_compression(web.ContentCoding.gzip)
        return response

    async def token(self, request: web.Request) -> web.Response:
        if self.token_gate is not None:
            await self.token_gate.wait()
        self.seen.append((request.path, dict(request.headers), await request.text()))
        self.tokens += 1
        self.valid = f"token-{self.tokens}-abcdef"
        answer = (
            {"access_token": self.valid, "expires_in": 3600} | self.token_answer
            if self.token_status == 200
            else {"error": "invalid_client"}
        )
        return web.json_response(answer, status=self.token_status)


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Upstream, str]]:
    made = Upstream()
    app = web.Application()
    app.router.add_post("/token", made.token)
    app.router.add_route("*", "/{rest:.*}", made.echo)
    async with TestServer(app) as server:
        yield made, str(server.make_url("")).rstrip("/")


def vault_of(env: dict[str, str] | None = None, **settings: Any) -> Any:
    return build_vault(Settings(**settings), AiohttpFetcher(Guard(allow_private=True)), SystemClock(), env or {})


async def send(request: FetchRequest, env: dict[str, str] | None = None, **settings: Any) -> FetchOutcome:
    inner = AiohttpFetcher(Guard(allow_private=True))
    fetcher = SecretFetcher(inner, build_vault(Settings(**settings), inner, SystemClock(), env or {}))
    try:
        return await fetcher.fetch(request)
    finally:
        await fetcher.close()


@pytest.mark.parametrize("path", ["/echo", "/zipped"])
async def test_the_upstream_gets_the_value_and_the_record_does_not(upstream: tuple[Upstream, str], path: str) -> None:
    server, url = upstream
    request = FetchRequest(url=f"{url}{path}?key={REF}", headers=(("X-Key", f"k {REF}"), ("Accept-Encoding", "gzip")))
    outcome = await send(request, {"API_KEY": "value/123"}, secrets_hosts="API_KEY=127.0.0.1")
    assert server.seen[0][0] == f"{path}?key=value%2F123"
    assert server.seen[0][1]["x-key"] == "k value/123"
    assert isinstance(outcome, FetchResponse)
    assert outcome.status == 200
    assert outcome.url == request.url
    assert b"****" in outcome.body
    assert b"value" not in msgspec.msgpack.encode(outcome)
    assert "content-encoding" not in {name.lower() for name, _ in outcome.headers}, "it is recorded as it reads"
    assert find(outcome.headers, "content-length") in (None, str(len(outcome.body)))


async def test_the_variable_made_for_it_comes_first(upstream: tuple[Upstream, str]) -> None:
    server, url = upstream
    env = {"API_KEY": "second", "STEPWELL_SECRET_API_KEY": "first"}
    await send(FetchRequest(url=f"{url}/", headers=(("X-Key", REF),)), env, secrets_hosts="API_KEY=127.0.0.1")
    assert server.seen[0][1]["x-key"] == "first"


@pytest.mark.parametrize(
    ("hosts", "env", "kind", "words"),
    [
        ("", {"API_KEY": "v"}, "guard", "bound to no host"),
        ("API_KEY=api.example.com", {"API_KEY": "v"}, "guard", "may not go to http://127.0.0.1"),
        ("API_KEY=127.0.0.1", {}, "invalid", "STEPWELL_SECRET_API_KEY"),
        ("API_KEY=127.0.0.1", {"API_KEY": "a\nb"}, "invalid", "line break"),
        ("API_KEY=127.0.0.1", {"API_KEY": "caf\udce9"}, "invalid", "not text in UTF-8"),
    ],
)
async def test_what_may_not_be_sent_is_not_sent(
    upstream: tuple[Upstream, str], hosts: str, env: dict[str, str], kind: str, words: str
) -> None:
    server, url = upstream
    outcome = await send(FetchRequest(url=f"{url}/", headers=(("X-Key", REF),)), env, secrets_hosts=hosts)
    assert isinstance(outcome, FetchBroken)
    assert (outcome.kind, outcome.final, outcome.sent) == (kind, True, False)
    assert words in outcome.message
    assert server.seen == []


async def test_a_redirect_within_the_origin_keeps_the_secret(upstream: tuple[Upstream, str]) -> None:
    server, url = upstream
    request = FetchRequest(url=f"{url}/jump?k={REF}", method="POST", headers=(("X-Key", REF),), body=b"body")
    outcome = await send(request, {"API_KEY": "value-123"}, secrets_hosts="API_KEY=127.0.0.1")
    assert isinstance(outcome, FetchResponse)
    assert [seen[1].get("x-key") for seen in server.seen] == ["value-123", "value-123"]
    assert server.seen[1][0] == "/landed?k=value-123"
    assert outcome.url == f"{url}/landed?k={REF}"
    assert [hop.url for hop in outcome.history] == [request.url]
    assert b"value-123" not in msgspec.msgpack.encode(outcome)


class Scripted:
    """Answers one thing after the other, and keeps the requests."""

    def __init__(self, *answers: FetchOutcome) -> None:
        self.answers = list(answers)
        self.asked: list[FetchRequest] = []

    async def fetch(self, request: FetchRequest, attempt: int = 0) -> FetchOutcome:
        self.asked.append(request)
        return self.answers.pop(0)

    async def close(self) -> None:
        """Nothing is open."""


def hop(to: str, **phases: float) -> FetchResponse:
    headers = (("Location", to), ("Set-Cookie", f"at={to}"))
    return FetchResponse(status=302, url="http://127.0.0.1/", headers=headers, phases=Phases(**phases))


@pytest.mark.parametrize(
    "last",
    [
        FetchResponse(status=200, url="http://127.0.0.1/", phases=Phases(first_byte=4.0, transfer=8.0)),
        FetchBroken(kind="read", message="it broke", phases=Phases(first_byte=4.0, transfer=8.0)),
        hop("http://[", first_byte=4.0, transfer=8.0),
    ],
)
async def test_the_phases_of_all_hops_add_up(last: FetchOutcome) -> None:
    """As they do where no secret is filled in; and each hop is told of those before it, whose cookies it gets."""
    inner = Scripted(hop("/b", dns=1.0, connect=2.0, first_byte=1.0), hop("/c", connect=16.0, first_byte=2.0), last)
    vault = vault_of({"API_KEY": "value-123"}, secrets_hosts="API_KEY=127.0.0.1")
    request = FetchRequest(url="http://127.0.0.1/", headers=(("X-Key", REF),))
    outcome = await SecretFetcher(inner, vault).fetch(request)
    assert outcome.phases == Phases(dns=1.0, connect=18.0, first_byte=7.0, transfer=8.0)
    assert [[entry.headers[-1][1] for entry in asked.history] for asked in inner.asked] == [
        [],
        ["at=/b"],
        ["at=/b", "at=/c"],
    ]


async def test_what_is_sent_again_after_a_401_takes_the_time_of_both() -> None:
    class Rotating:
        async def values(self, names: object, url: str, *, fresh: bool) -> dict[str, str]:
            return {"API_KEY": "new-value" if fresh else "old-value"}

    old = FetchResponse(status=401, url="http://127.0.0.1/", phases=Phases(dns=1.0, first_byte=2.0))
    inner = Scripted(old, FetchResponse(status=200, url="http://127.0.0.1/", phases=Phases(first_byte=4.0)))
    vault: Any = Rotating()
    outcome = await SecretFetcher(inner, vault).fetch(FetchRequest(url="http://127.0.0.1/", headers=(("X-Key", REF),)))
    assert outcome.phases == Phases(dns=1.0, first_byte=6.0)


async def test_a_redirect_to_another_origin_never_gets_it(upstream: tuple[Upstream, str]) -> None:
    server, url = upstream
    server.elsewhere = url.replace("127.0.0.1", "localhost")
    hosts = "API_KEY+body=127.0.0.1,localhost"
    request = FetchRequest(url=f"{url}/jump", method="POST", headers=(("X-Key", REF), ("X-Other", "o")), body=b"plain")
    outcome = await send(request, {"API_KEY": "value-123"}, secrets_hosts=hosts)
    assert isinstance(outcome, FetchResponse)
    assert server.seen[1][0] == "/landed"
    assert "x-key" not in server.seen[1][1]
    assert server.seen[1][1]["x-other"] == "o"
    for bad in (
        FetchRequest(url=f"{url}/jump", method="POST", body=REF.encode()),
        FetchRequest(url=f"{url}/jump?k={REF}"),
    ):
        server.seen.clear()
        outcome = await send(bad, {"API_KEY": "value-123"}, secrets_hosts=hosts)
        assert isinstance(outcome, FetchBroken)
        assert (outcome.kind, outcome.final, outcome.sent) == ("redirect", True, True)
        assert len(server.seen) == 1


async def test_redirects_are_left_alone_when_asked_to(upstream: tuple[Upstream, str]) -> None:
    server, url = upstream
    policy = FetchPolicy(follow_redirects=False)
    request = FetchRequest(url=f"{url}/jump", headers=(("X-Key", REF),), policy=policy)
    outcome = await send(request, {"API_KEY": "value-123"}, secrets_hosts="API_KEY=127.0.0.1")
    assert isinstance(outcome, FetchResponse)
    assert outcome.status == 307
    assert len(server.seen) == 1


# the file


async def test_a_setting_that_makes_no_sense_is_an_error_at_the_start() -> None:
    with pytest.raises(SettingsError, match="about secrets"):
        vault_of(secrets_hosts="A=")


async def test_values_from_files_are_read_at_every_use(upstream: tuple[Upstream, str], tmp_path: Path) -> None:
    server, url = upstream
    (tmp_path / "key").write_text("one\n")
    (tmp_path / "secrets.toml").write_text(
        '[API_KEY]\nhosts = ["127.0.0.1"]\nfile = "key"\n[B]\nvalue = "two"\nhosts = ["*"]\n'
    )
    inner = AiohttpFetcher(Guard(allow_private=True))
    settings = Settings(secrets_file=str(tmp_path / "secrets.toml"))
    fetcher = SecretFetcher(inner, build_vault(settings, inner, SystemClock(), {}))
    request = FetchRequest(url=f"{url}/", headers=(("X-Key", REF), ("X-B", reference("B"))))
    await fetcher.fetch(request)
    (tmp_path / "key").write_text("other")
    await fetcher.fetch(request)
    (tmp_path / "key").unlink()
    gone = await fetcher.fetch(request)
    await fetcher.close()
    assert [(headers["x-key"], headers["x-b"]) for _, headers, _ in server.seen] == [("one", "two"), ("other", "two")]
    assert isinstance(gone, FetchBroken)
    assert "can not be read" in gone.message


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("s.toml", "[A", "not valid TOML"),
        ("s.json", "{", "not valid JSON"),
        ("s.json", '{"A": {"hosts": ["h"], "vlaue": "sk-1"}}', "vlaue"),
        ("s.json", '{"A": {"hosts": ["h"], "value": "sk-1", "env": "B"}}', "more than one"),
        ("s.json", '{"A": {"hosts": ["h/x"], "value": "sk-1"}}', "bound to"),
        ("s.json", '{"A": {"oauth2": {"token_url": "http://h/t", "client_id": "i", "client_secret": "S"}}}', "https"),
        (
            "s.json",
            '{"A": {"oauth2": {"token_url": "ftp://h/t", "client_id": "i", "client_secret": "S"}}}',
            "token_url",
        ),
        ("s.json", '{"A": {"oauth2": {"token_url": "https://h/t", "client_id": "i", "client_secret": "A"}}}', "itself"),
    ],
)
def test_a_file_that_makes_no_sense_is_one_sentence(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SettingsError, match=words) as caught:
        vault_of(secrets_file=str(path))
    assert "sk-1" not in str(caught.value)


# OAuth2


def oauth_file(folder: Path, url: str, **more: Any) -> str:
    plan = {"token_url": f"{url}/token", "client_id": "me", "client_secret": "CRM_SECRET", "scope": "read", **more}
    path = folder / "secrets.json"
    path.write_text(json.dumps({"CRM": {"hosts": ["127.0.0.1"], "oauth2": plan}, "CRM_SECRET": {"value": "s3cr3t/x"}}))
    return str(path)


@pytest.mark.parametrize("auth", ["basic", "form"])
async def test_a_token_is_fetched_once_and_anew_after_a_401(
    upstream: tuple[Upstream, str], tmp_path: Path, auth: str
) -> None:
    server, url = upstream
    inner = AiohttpFetcher(Guard(allow_private=True))
    settings = Settings(secrets_file=oauth_file(tmp_path, url, auth=auth))
    fetcher = SecretFetcher(inner, build_vault(settings, inner, SystemClock(), {}))
    request = FetchRequest(url=f"{url}/guarded", headers=(("Authorization", f"Bearer {reference('CRM')}"),))
    outcomes = [await fetcher.fetch(request) for _ in range(2)]
    assert server.tokens == 1
    server.valid = "revoked"
    outcomes.append(await fetcher.fetch(request))
    await fetcher.close()
    assert [outcome.status for outcome in outcomes if isinstance(outcome, FetchResponse)] == [200, 200, 200]
    assert server.tokens == 2
    assert all(b"token-" not in msgspec.msgpack.encode(outcome) for outcome in outcomes)
    path, headers, body = server.seen[0]
    assert path == "/token"
    assert "grant_type=client_credentials&scope=read" in body
    if auth == "form":
        assert "client_id=me&client_secret=s3cr3t%2Fx" in body
    else:
        assert base64.b64decode(headers["Authorization"].split()[1]) == b"me:s3cr3t%2Fx"


class StandingClock(SystemClock):
    """Stands still until it is moved."""

    at = 1_000_000

    def now(self) -> int:
        return self.at


@pytest.mark.parametrize(("said", "lasts_s"), [(3600, 3570), ("3600", 3570), (40, 20), (None, 270)])
async def test_a_token_is_fetched_anew_before_it_expires(
    upstream: tuple[Upstream, str], tmp_path: Path, said: float | str | None, lasts_s: int
) -> None:
    """30 s before, or at half of a short life; without a word about it, 5 minutes are assumed."""
    server, url = upstream
    server.token_answer = {"expires_in": said}
    inner, clock = AiohttpFetcher(Guard(allow_private=True)), StandingClock()
    vault = build_vault(Settings(secrets_file=oauth_file(tmp_path, url)), inner, clock, {})
    await vault.value("CRM")
    clock.at += lasts_s * 1000 - 1
    await vault.value("CRM")
    assert server.tokens == 1
    clock.at += 1
    assert await vault.value("CRM") == server.valid
    assert server.tokens == 2
    await inner.close()


async def test_many_requests_at_once_share_one_token(upstream: tuple[Upstream, str], tmp_path: Path) -> None:
    import asyncio

    server, url = upstream
    inner = AiohttpFetcher(Guard(allow_private=True))
    settings = Settings(secrets_file=oauth_file(tmp_path, url))
    fetcher = SecretFetcher(inner, build_vault(settings, inner, SystemClock(), {}))
    request = FetchRequest(url=f"{url}/guarded", headers=(("Authorization", f"Bearer {reference('CRM')}"),))
    await asyncio.gather(*(fetcher.fetch(request) for _ in range(8)))
    assert server.tokens == 1
    server.valid = "revoked"
    await asyncio.gather(*(fetcher.fetch(request) for _ in range(8)))
    await fetcher.close()
    assert server.tokens == 2


async def test_a_401_stands_where_no_new_token_can_be_had(upstream: tuple[Upstream, str], tmp_path: Path) -> None:
    server, url = upstream
    inner = AiohttpFetcher(Guard(allow_private=True))
    settings = Settings(secrets_file=oauth_file(tmp_path, url))
    fetcher = SecretFetcher(inner, build_vault(settings, inner, SystemClock(), {}))
    request = FetchRequest(url=f"{url}/guarded", headers=(("Authorization", f"Bearer {reference('CRM')}"),))
    await fetcher.fetch(request)
    server.valid, server.token_status = "revoked", 503
    outcomes = [await fetcher.fetch(replace(request, policy=FetchPolicy(at_most_once=once))) for once in (False, True)]
    await fetcher.close()
    assert [outcome.status for outcome in outcomes if isinstance(outcome, FetchResponse)] == [401, 401]


async def test_the_deadline_holds_while_a_token_is_fetched(upstream: tuple[Upstream, str], tmp_path: Path) -> None:
    server, url = upstream
    server.token_gate = asyncio.Event()
    request = FetchRequest(
        url=f"{url}/guarded",
        headers=(("Authorization", f"Bearer {reference('CRM')}"),),
        policy=FetchPolicy(deadline_ms=50),
    )
    outcome = await asyncio.wait_for(send(request, {}, secrets_file=oauth_file(tmp_path, url)), 20)
    server.token_gate.set()
    assert isinstance(outcome, FetchBroken)
    assert (outcome.kind, outcome.sent) == ("timeout", False)


@pytest.mark.parametrize(("status", "final", "kind"), [(400, True, "invalid"), (503, False, "connect")])
async def test_a_token_that_can_not_be_had(
    upstream: tuple[Upstream, str], tmp_path: Path, status: int, final: bool, kind: str
) -> None:
    server, url = upstream
    server.token_status = status
    request = FetchRequest(url=f"{url}/guarded", headers=(("Authorization", f"Bearer {reference('CRM')}"),))
    outcome = await send(request, {}, secrets_file=oauth_file(tmp_path, url))
    assert isinstance(outcome, FetchBroken)
    assert (outcome.kind, outcome.final, outcome.sent) == (kind, final, False)
    assert f"answered {status} (invalid_client)" in outcome.message
    assert "s3cr3t" not in outcome.message


@pytest.mark.parametrize("said", ["Infinity", "1e999", "nan", -5, 10**30])
async def test_a_token_with_an_odd_life_time_is_a_token(
    upstream: tuple[Upstream, str], tmp_path: Path, said: float | str
) -> None:
    server, url = upstream
    server.token_answer = {"expires_in": said}
    request = FetchRequest(url=f"{url}/guarded", headers=(("Authorization", f"Bearer {reference('CRM')}"),))
    outcome = await send(request, {}, secrets_file=oauth_file(tmp_path, url))
    assert isinstance(outcome, FetchResponse)
    assert outcome.status == 200


async def test_an_empty_token_is_none(upstream: tuple[Upstream, str], tmp_path: Path) -> None:
    server, url = upstream
    server.token_answer = {"access_token": ""}
    request = FetchRequest(url=f"{url}/guarded", headers=(("Authorization", f"Bearer {reference('CRM')}"),))
    outcome = await send(request, {}, secrets_file=oauth_file(tmp_path, url))
    assert isinstance(outcome, FetchBroken)
    assert "holds an empty token" in outcome.message


async def test_at_most_once_is_not_sent_again_after_a_401_and_the_next_gets_a_new_token(
    upstream: tuple[Upstream, str], tmp_path: Path
) -> None:
    server, url = upstream
    inner = AiohttpFetcher(Guard(allow_private=True))
    settings = Settings(secrets_file=oauth_file(tmp_path, url))
    fetcher = SecretFetcher(inner, build_vault(settings, inner, SystemClock(), {}))
    policy = FetchPolicy(at_most_once=True)
    header = ("Authorization", f"Bearer {reference('CRM')}")
    request = FetchRequest(url=f"{url}/guarded", headers=(header,), policy=policy)
    await fetcher.fetch(request)
    server.valid = "revoked"
    server.seen.clear()
    outcome = await fetcher.fetch(request)
    after = await fetcher.fetch(replace(request, url=f"{url}/echo"))
    await fetcher.close()
    assert isinstance(outcome, FetchResponse)
    assert outcome.status == 401
    assert isinstance(after, FetchResponse)
    assert server.seen.pop()[1]["authorization"] == f"Bearer {server.valid}"
    assert [path for path, _, _ in server.seen] == ["/guarded", "/token"]


def test_a_request_never_shows_its_credentials() -> None:
    shown = repr(FetchRequest(url="https://me:pw@h:1/p?key=sk", headers=(("Authorization", "sk"),), body=b"sk"))
    assert shown == "FetchRequest(GET https://h:1)"
    assert "sk" not in shown
    assert "pw" not in shown
