"""step.fetch and stepwell.fetch: httpx's arguments out, an httpx2.Response back."""

import asyncio
import enum
import gzip
import http.server
import threading
from collections.abc import Iterator
from typing import Any, cast

import httpx2
import pytest

import stepwell
from stepwell import FetchError, Retry, StepUsageError
from stepwell.sdk.timeouts import NO_TIMEOUT_S
from stepwell.wire.fetch import FetchBroken, FetchResponse, Hop, Timeouts
from stepwell.wire.gateway import parse_gateway
from stepwell.wire.ids import step_hash
from stepwell.wire.memos import error_memo, memo
from tests.sdk.fake_engine import Engine, Failed


async def asked(*args: Any, **options: Any) -> Any:
    """The request that the platform would see, and the id."""

    async def f(ctx: Any) -> Any:
        return (await ctx.step.fetch(*args, **options)).status_code

    engine = Engine(f)
    answer = await engine.call()
    await engine.executor.close()
    if answer.error is not None:
        raise Failed(answer.error.message)
    (op,) = answer.ops
    assert op.op == "Gateway"
    return parse_gateway(bytes(op.opts or b"")), op.display_name


CASES: list[tuple[str, dict[str, Any]]] = [
    ("GET", {"params": {"a": ["1", "2"], "b": "ü"}}),
    ("POST", {"json": {"z": [1, "ü"]}}),
    ("POST", {"data": {"a": "1 2", "b": "&"}}),
    ("PUT", {"content": b"\x00\xff raw"}),
    ("POST", {"content": "text ü"}),
    ("PATCH", {"headers": [("x-a", "1"), ("x-a", "2"), ("Cookie", "c=d")]}),
    ("DELETE", {"cookies": {"a": "b"}}),
    ("GET", {"auth": ("user", "pass")}),
]


class TokenAuth(httpx2.Auth):
    """Asks for a token first."""

    def auth_flow(self, request: httpx2.Request) -> Any:
        answered = yield httpx2.Request("POST", "http://tokens.test/")
        request.headers["Authorization"] = answered.text
        yield request


class AsyncAuth(httpx2.Auth):
    """Has no other way."""

    async def async_auth_flow(self, request: httpx2.Request) -> Any:
        request.headers["Authorization"] = "x"
        yield request


class SigningAuth(httpx2.Auth):
    """Signs the body."""

    requires_request_body = True

    def auth_flow(self, request: httpx2.Request) -> Any:
        request.headers["Authorization"] = request.content.hex()
        yield request


async def _parts() -> Any:
    yield b"a"


async def test_an_auth_that_signs_the_body_has_it() -> None:
    request, _ = await asked("http://x.test/", method="POST", content=b"ab", auth=SigningAuth())
    assert dict(request.headers)["Authorization"] == "6162"
    request, _ = await asked("http://x.test/", method="POST", content=iter([b"a", b"b"]), auth=SigningAuth())
    assert dict(request.headers)["Authorization"] == "6162"


@pytest.mark.parametrize(("method", "options"), CASES)
async def test_requests_are_encoded_as_httpx_does(method: str, options: dict[str, Any]) -> None:
    request, step_id = await asked("http://x.test:81/p/q", method=method, **options)
    seen: list[httpx2.Request] = []

    def record(plain: httpx2.Request) -> httpx2.Response:
        seen.append(plain)
        return httpx2.Response(200)

    plain_options = dict(options)
    cookies = plain_options.pop("cookies", None)
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(record), cookies=cookies) as client:
        await client.request(method, "http://x.test:81/p/q", **plain_options)
    skip = {"host", "content-length", "connection", "user-agent"}
    expected = [(name, value) for name, value in seen[0].headers.multi_items() if name not in skip]
    assert [(name.lower(), value) for name, value in request.headers] == expected
    assert request.url == str(seen[0].url)
    assert (request.body or b"") == seen[0].content
    assert request.rich
    assert step_id == f"{method} x.test:81/p/q"


async def test_multipart_keeps_its_boundary_and_the_id_is_stable() -> None:
    ids = set()
    for _ in range(2):
        request, step_id = await asked("http://x.test/up", method="POST", files={"f": ("n.txt", b"\xffdata")})
        kind = dict(request.headers)["Content-Type"]
        assert kind.split("boundary=")[1].encode() in (request.body or b"")
        ids.add(step_id)
    assert ids == {"POST x.test/up"}


async def test_policy() -> None:
    retry = Retry(attempts=6, on={503, 429}, max_delay="5m", min_delay=2)
    request, step_id = await asked(
        "http://x.test/?secret=1", id="charge", timeout=30, deadline="10m", retry=retry, at_most_once=True,
        idempotency_key="k", follow_redirects=False,
    )  # fmt: skip
    policy = request.policy
    assert step_id == "charge"
    assert (policy.attempts, policy.retry_on, policy.min_delay_ms, policy.max_delay_ms) == (
        6,
        (429, 503),
        2000,
        300_000,
    )
    assert (policy.deadline_ms, policy.at_most_once, policy.idempotency_key, policy.follow_redirects) == (
        600_000,
        True,
        "k",
        False,
    )
    assert policy.timeouts.connect == policy.timeouts.read == 30
    request, step_id = await asked("http://x.test/p?secret=1", timeout=httpx2.Timeout(5, read=60), retry=2)
    assert step_id == "GET x.test/p"
    assert (request.policy.timeouts.connect, request.policy.timeouts.read, request.policy.attempts) == (5, 60, 2)


class Api(str, enum.Enum):  # noqa: UP042 - its str() is not its value
    """Texts as people wrote them before there was StrEnum."""

    URL = "http://x.test/p"
    PUT = "put"


async def test_texts_of_classes_of_their_own() -> None:
    key = stepwell.secret("KEY")
    request, step_id = await asked(Api.URL, method=Api.PUT, idempotency_key=key, idempotency_header=Api.PUT)
    assert (step_id, request.method, request.url) == ("PUT x.test/p", "PUT", "http://x.test/p")
    assert (request.policy.idempotency_key, request.policy.idempotency_header) == (str(key), "put")


async def test_ready_requests_and_async_bodies() -> None:
    async def chunks() -> Any:
        yield b"a"
        yield b"b"

    ready = httpx2.Request("POST", "http://x.test/p", content=chunks(), headers={"x-a": "1"})
    request, _ = await asked(ready)
    assert (request.method, request.body, ("x-a", "1") in request.headers) == ("POST", b"ab", True)


async def test_the_time_outs_of_a_ready_request_stand_unless_the_call_has_others() -> None:
    with httpx2.Client(timeout=httpx2.Timeout(3, read=None)) as client:
        ready = client.build_request("GET", "http://x.test/p")
    assert (await asked(ready))[0].policy.timeouts == Timeouts(connect=3, read=NO_TIMEOUT_S, write=3, pool=3)
    assert (await asked(ready, timeout=4))[0].policy.timeouts == Timeouts(4, 4, 4, 4)
    assert (await asked(httpx2.Request("GET", "http://x.test/p")))[0].policy.timeouts == Timeouts()


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        (("/relative",), {}, "absolute"),
        (("http://x.test",), {"verify": False}, "no argument 'verify'"),
        (("http://x.test",), {"auth": httpx2.DigestAuth("a", "b")}, "digest"),
        (("http://x.test",), {"auth": TokenAuth()}, "TokenAuth makes a request of its own"),
        (("http://x.test",), {"auth": AsyncAuth()}, "AsyncAuth is for async clients alone"),
        (
            ("http://x.test",),
            {"method": "POST", "content": _parts(), "auth": SigningAuth()},
            "SigningAuth needs the .* body",
        ),
        ((httpx2.Request("GET", "http://x.test"),), {"json": 1}, "one or the other"),
        (("http://x.test",), {"retry": 0}, "count all tries"),
        (("http://x.test",), {"retry": "5"}, "not str"),
        (("http://x.test",), {"timeout": "30s"}, "timeout is a number of seconds .*, and '30s' is neither"),
        (("http://x.test",), {"timeout": float("nan")}, "nan is neither"),
        (("http://x.test",), {"timeout": {}}, "{} is neither"),
        (("http://x.test",), {"method": b"POST"}, "a method is a text .*, not bytes"),
        ((httpx2.Request(cast("str", b"GET"), "http://x.test"),), {}, "a method is a text .*, not bytes"),
        (("http://x.test",), {"idempotency_key": b"k"}, "key is a text, not bytes"),
        (("http://x.test",), {"method": "PUT", "content": bytearray(b"abc")}, "this one has a piece of type int"),
        (("http://x.test",), {"method": "PUT", "content": ["a"]}, "this one has a piece of type str"),
    ],
)
async def test_bad_arguments(args: Any, options: Any, message: str) -> None:
    with pytest.raises(Failed, match=message):
        await asked(*args, **options)


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_body_that_never_ends_is_an_error(asynchronous: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(400)

    async def endless_async() -> Any:
        while True:
            yield bytes(400)

    monkeypatch.setattr("stepwell.sdk.upload.LONGEST", 1_000)
    with pytest.raises(Failed, match="does not end within 1000 bytes"):
        await asked("http://x.test/up", method="PUT", content=endless_async() if asynchronous else endless())
    ends = iter([bytes(400), bytes(600)])
    request, _ = await asked("http://x.test/up", method="PUT", content=ends)
    assert request.body == bytes(1_000)


async def test_an_async_body_in_a_function_that_is_not_is_an_error() -> None:
    async def parts() -> Any:
        yield b"a"

    def f(ctx: Any) -> Any:
        return ctx.step.fetch("http://x.test/up", method="PUT", content=parts())

    answer = await Engine(f).call()
    assert answer.error is not None
    assert "a sync function needs a plain one" in answer.error.message


async def test_the_response_is_exact() -> None:
    async def f(ctx: Any) -> Any:
        got = await ctx.step.fetch("http://x.test/a")
        return [
            got.status_code, got.headers.get_list("set-cookie"), got.json(), str(got.url), got.http_version,
            got.elapsed.total_seconds(), [each.status_code for each in got.history], got.reason_phrase,
        ]  # fmt: skip

    found = FetchResponse(
        status=201,
        url="http://y.test/b",
        headers=(
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("Content-Encoding", "gzip"),
            ("Content-Type", "application/json"),
        ),
        body=gzip.compress(b'{"a":1}'),
        history=(Hop(302, "http://x.test/a", (("location", "http://y.test/b"),)),),
        elapsed_ms=1500,
    )
    engine = Engine(f)
    engine.upstream = lambda request: found
    assert await engine.run() == [201, ["a=1", "b=2"], {"a": 1}, "http://y.test/b", "HTTP/1.1", 1.5, [302], "Created"]


async def test_no_response_is_a_fetch_error() -> None:
    async def f(ctx: Any) -> Any:
        try:
            await ctx.step.fetch("http://x.test/a", id="a")
        except FetchError as error:
            return [error.kind, error.attempts, isinstance(error, stepwell.StepError)]

    engine = Engine(f)
    await engine.call()
    engine.end(step_hash("a"), error_memo(FetchBroken(kind="connect", message="refused"), 4, rich=True))
    answer = await engine.call()
    assert answer.data == b'["connect",4,true]'


@pytest.mark.parametrize("sync", [False, True])
async def test_a_body_beside_the_state_is_loaded(sync: bool) -> None:
    async def load(ref: str, start: int, end: int) -> bytes:
        await asyncio.sleep(0.03)
        return f"body of {ref}".encode()[start : min(end, start + 4)]

    async def f(ctx: Any) -> Any:
        return (await ctx.step.fetch("http://x.test/a", id="a")).text

    def g(ctx: Any) -> Any:
        return ctx.step.fetch("http://x.test/a", id="a").text

    engine = Engine(g if sync else f, load_body=load)
    await engine.call()
    engine.end(step_hash("a"), memo(FetchResponse(status=200, url="http://x.test/a", stored=10), True, "r1"))
    assert (await engine.call()).data == b'"body of r1"'
    await engine.executor.close()


class Upstream(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(b"plain")

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


async def test_fetch_by_context(upstream: str) -> None:
    async def in_step() -> str:
        return (await stepwell.fetch(upstream, retry=3)).text

    async def f(ctx: Any) -> Any:
        durable = (await stepwell.fetch("http://x.test/")).text
        plain = await ctx.step.run("plain", in_step)
        return [durable, plain, await ctx.step.run("thread", lambda: stepwell.fetch(upstream).text)]

    assert await Engine(f).run() == ["http://x.test/", "plain", "plain"]
    assert (await stepwell.fetch(upstream)).text == "plain"
    assert await asyncio.to_thread(lambda: stepwell.fetch(upstream).text) == "plain"


async def test_fetch_fallbacks() -> None:
    strict = stepwell.fetch.config(fallback=None)
    with pytest.raises(StepUsageError, match="outside of a run"):
        strict("http://x.test")
    assert stepwell.fetch.config(fallback=lambda url, **options: (url, options))("u", json=1, id="x") == (
        "u",
        {"json": 1},
    )

    async def f(ctx: Any) -> Any:
        await ctx.step.run("inner", lambda: strict("http://x.test"))

    with pytest.raises(Failed, match="inside the step 'inner'"):
        await Engine(f).run()

    async def g(ctx: Any) -> Any:
        await ctx.step.run("inner", lambda: ctx.step.fetch("http://x.test"))

    with pytest.raises(Failed, match="can not be nested"):
        await Engine(g).run()
