"""The same requests, made by a plain httpx2 client and as durable steps: the server sees the same, the caller gets the same.

Exempt on the way out: ``Idempotency-Key``, ``User-Agent`` when the user set none, and what belongs to one connection.
A query without anything in it is none. Cookies may come in any order.
"""

import asyncio
import gzip
import os
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import brotli
import httpx2
import pytest
from backports import zstd
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stepwell import Client, Context, Retry, TriggerEvent, embedded
from stepwell.embed import Embedded

CASES = settings(
    max_examples=500 if os.environ.get("CI") == "true" else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
EXEMPT = {b"idempotency-key", b"user-agent", b"connection", b"transfer-encoding"}
NOTHING = (b"content-length", b"0")
"""What no Content-Length means too (RFC 9110, 8.6)."""
Options = dict[str, Any]


@dataclass
class Seen:
    """One request: its first line, its headers but for the exempt ones in any order, its body."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass
class Server:
    """Answers each path with the bytes that the test has put there, and keeps what came."""

    answers: dict[bytes, bytes] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                line, *rest = head[:-4].split(b"\r\n")
                pairs = [
                    (name.lower(), value.strip(b" \t")) for name, _, value in (each.partition(b":") for each in rest)
                ]
                body = await _body(reader, dict(pairs))
                chunked = (b"transfer-encoding", b"chunked") in pairs
                kept = [(n, _ordered(n, v)) for n, v in pairs if n not in EXEMPT and (n, v) != NOTHING]
                if chunked:
                    kept.append((b"content-length", b"%d" % len(body)))
                self.seen.append(Seen(line.replace(b"? HTTP/", b" HTTP/"), sorted(kept), body))
                target = line.split(b" ")[1].split(b"?")[0]
                answer = self.answers.get(target, self.answers[b"*"])
                writer.write(answer)
                await writer.drain()
                if b"\r\nConnection: close\r\n" in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def _ordered(name: bytes, value: bytes) -> bytes:
    return b"; ".join(sorted(value.split(b"; "))) if name == b"cookie" else value


async def _body(reader: asyncio.StreamReader, headers: dict[bytes, bytes]) -> bytes:
    if headers.get(b"transfer-encoding") == b"chunked":
        found = b""
        while size := int(await reader.readline(), 16):
            found += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return found
    return await reader.readexactly(int(headers.get(b"content-length", 0)))


class Sides:
    """A server and both ways to ask it."""

    def __init__(self) -> None:
        self.server, self.other, self.user = Server(), Server(), ""
        self._asked: dict[int, tuple[str, Options]] = {}
        self._got: dict[int, httpx2.Response] = {}
        self._platform: Embedded

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Sides"]:
        client = Client(app_id="alike")

        @client.create_function(fn_id="ask", trigger=TriggerEvent(event="ask"), retries=0)
        async def ask(ctx: Context) -> None:
            url, options = self._asked[ctx.event.data["n"]]
            self._got[ctx.event.data["n"]] = await ctx.step.fetch(url, id="ask", retry=Retry(attempts=1), **options)

        listeners = [await asyncio.start_server(server.serve, "127.0.0.1", 0) for server in (self.server, self.other)]
        for server, listener in zip((self.server, self.other), listeners, strict=True):
            name = "127.0.0.1" if server is self.server else "localhost"
            server.url = f"http://{name}:{listener.sockets[0].getsockname()[1]}"
        async with embedded(client, db="memory:", hosts={"*": {"slow_down": False}}) as self._platform:
            yield self
        for listener in listeners:
            listener.close()

    async def plain(self, path: str, options: Options) -> tuple[list[Seen], httpx2.Response]:
        options = {"follow_redirects": True, **_fresh(options)}
        sending = {key: options.pop(key) for key in ("auth", "follow_redirects") if key in options}
        cookies = options.pop("cookies", None)
        async with httpx2.AsyncClient(trust_env=False, cookies=cookies, verify=False) as client:
            request = client.build_request(options.pop("method"), self._url(path), **options)
            response = await client.send(request, **sending)
        return self._taken(), response

    async def durable(self, path: str, options: Options) -> tuple[list[Seen], httpx2.Response]:
        number = len(self._asked)
        self._asked[number] = (self._url(path), _fresh(options))
        (result,) = await self._platform.send_and_wait("ask", {"n": number}, timeout=30)
        assert result.status == "completed", result
        return self._taken(), self._got.pop(number)

    def _url(self, path: str) -> str:
        return self.server.url.replace("://", f"://{self.user}") + path

    def _taken(self) -> list[Seen]:
        found = self.server.seen + self.other.seen
        self.server.seen, self.other.seen = [], []
        return found


def _fresh(options: Options) -> Options:
    """Iterators are made anew: each side reads its own."""
    return {key: value() if callable(value) else value for key, value in options.items()}


@contextmanager
def sides() -> Iterator[Callable[[str, Options], tuple[Any, Any]]]:
    """Asks both, one after the other, on one loop and one platform for all examples."""
    with asyncio.Runner() as runner:
        made = Sides()
        context = made.running()
        runner.run(context.__aenter__())

        def ask(path: str, options: Options) -> tuple[Any, Any]:
            async def both() -> tuple[Any, Any]:
                return await made.plain(path, options), await made.durable(path, options)

            return runner.run(both())

        ask.sides = made  # type: ignore[attr-defined]
        try:
            yield ask
        finally:
            runner.run(context.__aexit__(None, None, None))


# requests

_OCTETS = st.binary(min_size=1, max_size=12).map(lambda b: bytes(c for c in b if c >= 0x20 and c != 0x7F).strip(b" \t"))
_NAMES = st.from_regex(r"\A[Xx]-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,8}\Z").map(str.encode)
_WORDS = st.text("abcxyz059", min_size=1, max_size=5)
_KNOWN = st.sampled_from(
    [
        (b"Accept", b"x/y"),
        (b"accept-encoding", b"gzip;q=0"),
        (b"User-Agent", b"mine/1"),
        (b"Cookie", b"a=1; b=2"),
        (b"Content-Type", b"x/y"),
        (b"Authorization", b"Bearer a"),
        (b"If-None-Match", b'"x"'),
        (b"Range", b"bytes=0-1"),
        (b"Host", b"elsewhere.test"),
    ]
)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_PAIRS = st.dictionaries(_TEXT.filter(bool), _TEXT | st.lists(_TEXT, max_size=3), max_size=3)
_SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
)
_JSON = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3))
_FILE = st.tuples(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8),
    st.binary(max_size=40),
    st.just("a/b"),
)
_MULTIPART = {"headers": [(b"Content-Type", b"multipart/form-data; boundary=b0undary")]}
_BODIES: st.SearchStrategy[Options] = st.one_of(
    st.just({}),
    st.binary(max_size=40).map(lambda body: {"content": body}),
    st.integers(60_000, 200_000).map(lambda size: {"content": b"\r\n\xff" * (size // 3)}),
    _TEXT.map(lambda body: {"content": body}),
    st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=3).map(
        lambda parts: {"content": lambda: _aiter(parts)}
    ),
    _JSON.map(lambda body: {"json": body}),
    _PAIRS.map(lambda form: {"data": form}),
    st.tuples(st.dictionaries(_TEXT.filter(bool), _FILE, min_size=1, max_size=2), _PAIRS).map(
        lambda both: {"files": both[0], "data": both[1], **_MULTIPART}
    ),
)


async def _aiter(parts: list[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, Options]:
    """A path, and keywords of httpx."""
    options: Options = {
        "method": draw(st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT"]))
    }
    options |= draw(_BODIES)
    headers = draw(
        st.lists(st.tuples(_NAMES, _OCTETS.filter(bool)) | _KNOWN, max_size=4, unique_by=lambda pair: pair[0].lower())
    )
    repeated = [(name, b"again") for name, _ in headers[:1] if name[:2] in (b"X-", b"x-")]
    if "files" in options:
        headers = [pair for pair in headers if pair[0] != b"Content-Type"] + options["headers"]
    if headers:
        options["headers"] = headers + repeated
    if draw(st.booleans()):
        options["params"] = draw(_PAIRS)
    if draw(st.booleans()) and not any(name == b"Authorization" for name, _ in headers):
        options["auth"] = (draw(_TEXT.filter(lambda text: ":" not in text)), draw(_TEXT))
    if draw(st.booleans()) and not any(name == b"Cookie" for name, _ in headers):
        options["cookies"] = draw(
            st.dictionaries(st.from_regex(r"\A[a-z]{1,5}\Z"), st.from_regex(r"\A[a-z0-9]{0,5}\Z"), max_size=2)
        )
    path = draw(
        st.sampled_from(
            [
                "/",
                "/a%2Fb/",
                "/\u00fc/x;p=1",
                "/a//b/../c",
                "/x?q=1&&e=",
                "/~!$&'()*+,=:@",
                "/a|b^c\\d`{}?q={a}|`^\\[']<\">",
            ]
        )
    )
    return path, options


def test_the_server_sees_the_same_request() -> None:
    with sides() as ask:
        ask.sides.server.answers[b"*"] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"  # type: ignore[attr-defined]

        @CASES
        @given(requests())
        def same(asked: tuple[str, Options]) -> None:
            (plain, _), (durable, _) = ask(*asked)
            assert durable == plain

        same()


# responses

_PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "identity": bytes,
}
_STATUSES = sorted(status.value for status in HTTPStatus if status.value >= 200 and not 300 <= status.value < 400)
_KINDS = st.sampled_from(
    ["text/plain", "text/html; charset=latin-1", "application/json", "application/octet-stream", "x", None]
)


def _phrase(status: int) -> bytes:
    return b"%d %s" % (status, httpx2.codes.get_reason_phrase(status).encode())


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """A whole response: any status, repeated and odd headers, every coding and framing."""
    status = draw(st.sampled_from([*_STATUSES, 304]))
    body = draw(st.binary(max_size=60) | _TEXT.map(str.encode) | st.integers(70_000, 300_000).map(bytes))
    codings = draw(st.lists(st.sampled_from(sorted(_PACK)), max_size=2))
    lines = [
        b"HTTP/1.1 " + draw(st.sampled_from([_phrase(status), b"%d As it \xfc pleases" % status, b"%d " % status]))
    ]
    for coding in codings:
        body = _PACK[coding](body)
    if codings:
        lines.append(b"Content-Encoding: " + ", ".join(codings).encode())
    kind = draw(_KINDS)
    if kind is not None:
        lines.append(b"Content-Type: " + kind.encode())
    for name, value in draw(st.lists(st.tuples(_NAMES, _OCTETS), max_size=3)):
        lines.append(name + b": " + value)
    lines += draw(
        st.lists(st.sampled_from([b"Set-Cookie: a=1; Path=/", b"set-cookie: b=2", b"Set-Cookie: a=3"]), max_size=3)
    )
    if status in (204, 304):
        return b"\r\n".join(lines) + b"\r\n\r\n"
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    if framing == "chunked":
        cut = draw(st.integers(0, len(body)))
        parts = [part for part in (body[:cut], body[cut:]) if part]
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        lines.append(b"Transfer-Encoding: chunked")
    else:
        lines.append(b"Connection: close" if framing == "close" else b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def shown(response: httpx2.Response) -> tuple[Any, ...]:
    """All that a caller can see of a response."""
    return (
        response.status_code,
        response.reason_phrase,
        response.http_version,
        response.headers.raw,
        response.content,
        response.text,
        response.encoding,
        str(response.url),
        response.request.method,
        sorted((cookie.name, cookie.value) for cookie in response.cookies.jar),
        [(hop.status_code, hop.headers.raw, str(hop.url), hop.request.method) for hop in response.history],
        response.is_success,
    )


def test_the_caller_gets_the_same_response() -> None:
    with sides() as ask:

        @CASES
        @given(responses(), st.sampled_from(["GET", "POST"]))
        @example(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\r\nx: b\r\n\r\n\xff\xfe", "GET")
        def same(answer: bytes, method: str) -> None:
            ask.sides.server.answers[b"*"] = answer  # type: ignore[attr-defined]
            (_, plain), (_, durable) = ask("/x", {"method": method})
            assert shown(durable) == shown(plain)

        same()


_SET = [
    b"a=1",
    b"a=2; Path=/",
    b"b=3; Path=/2",
    b"c=4; Secure; Path=/",
    b"a=; Max-Age=0; Path=/",
    b"d=5; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
    b"d=6; Max-Age=600; HttpOnly; SameSite=Lax",
    b"e=7; Domain=localhost; Path=/",
    b"f=8; Domain=example.com",
    b'g="x y"; Path=/',
    b"nothing",
    b"=;",
]
Hop = tuple[int, str, bool, list[bytes]]


@st.composite
def redirects(draw: st.DrawFn) -> list[Hop]:
    """Hops: status, the form of the next place, whether it is on the other host, the cookies that are set."""
    hop = st.tuples(
        st.sampled_from([301, 302, 303, 307, 308]),
        st.sampled_from(["absolute", "path", "query"]),
        st.booleans(),
        st.lists(st.sampled_from(_SET), max_size=3),
    )
    return draw(st.lists(hop, min_size=1, max_size=4))


def test_redirects_lead_both_to_the_same_place() -> None:
    with sides() as ask:
        servers = [ask.sides.server, ask.sides.other]  # type: ignore[attr-defined]

        @CASES
        @given(redirects(), st.sampled_from(["GET", "POST", "HEAD"]), st.binary(max_size=9), st.booleans())
        @example([(302, "path", False, [b"a=2; Path=/", b"b=3; Path=/2"]), (302, "path", False, [])], "GET", b"", True)
        def same(hops: list[Hop], method: str, body: bytes, own: bool) -> None:
            at = 0
            for server in servers:
                server.answers = {b"*": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}
            for number, (status, form, away, cookies) in enumerate(hops):
                then = 1 - at if away else at
                where = f"/{number + 1}" + ("?q=%20" if form == "query" else "")
                location = servers[then].url + where if away or form == "absolute" else where
                servers[at].answers[b"/%d" % number] = (
                    b"HTTP/1.1 "
                    + _phrase(status)
                    + b"\r\nLocation: "
                    + location.encode()
                    + b"".join(b"\r\nSet-Cookie: " + cookie for cookie in cookies)
                    + b"\r\nContent-Length: 0\r\n\r\n"
                )
                at = then
            options: Options = {"method": method, "headers": [("Authorization", "Bearer x"), ("X-A", "1")]}
            if method == "POST":
                options["content"] = body
            if own and not any(away for _, _, away, _ in hops):  # httpx would show them to the other host
                options["cookies"] = {"mine": "0", "a": "9"}
            (before, plain), (after, durable) = ask("/0", options)
            assert after == before
            assert shown(durable) == shown(plain)

        same()


@pytest.mark.parametrize("place", ["", "/?", "?q=1", "/x#f"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer a"}])
def test_a_url_with_a_user_and_short_urls_lead_both_to_the_same_place(place: str, headers: dict[str, str]) -> None:
    with sides() as ask:
        ask.sides.server.answers[b"*"] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"  # type: ignore[attr-defined]
        for user in ("", "us%40er:pass@", "us@"):
            ask.sides.user = user  # type: ignore[attr-defined]
            (before, plain), (after, durable) = ask(place, {"method": "GET", "headers": headers})
            assert after == before
            assert shown(durable) == shown(plain)


@pytest.mark.parametrize("follow", [True, False])
def test_following_is_the_users_choice(follow: bool) -> None:
    with sides() as ask:
        answers = ask.sides.server.answers  # type: ignore[attr-defined]
        answers[b"/0"] = b"HTTP/1.1 302 Found\r\nLocation: /1\r\nContent-Length: 1\r\n\r\nx"
        answers[b"*"] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        (before, plain), (after, durable) = ask("/0", {"method": "GET", "follow_redirects": follow})
        assert after == before
        assert shown(durable) == shown(plain)
        assert durable.status_code == (200 if follow else 302)
