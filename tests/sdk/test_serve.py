"""The app's endpoint: calls, signatures, registration, inspection; and the framework adapters."""

import asyncio
import json
import threading
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
import pytest
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette

from stepwell import Client, Concurrency, ConfigError, TriggerEvent
from stepwell.frameworks import asgi, fastapi, flask, starlette
from stepwell.sdk.serve import Handler
from stepwell.wire.answers import parse_answer
from stepwell.wire.calls import AnswerKind, CallRequest
from stepwell.wire.codec import render_call
from stepwell.wire.functions import parse_registration
from stepwell.wire.headers import lower
from stepwell.wire.ids import step_hash
from stepwell.wire.signing import sign, verify

KEY = "signkey-test-abc123def456"
OTHER = "signkey-test-00112233"
EVENT = b'{"name":"go","data":{"n":4},"id":"e","ts":1,"user":{}}'
URL = "http://app.test/api/stepwell"


def app(**settings: Any) -> Client:
    client = Client("shop", **settings)

    @client.create_function(
        fn_id="double",
        trigger=TriggerEvent("go", "event.data.n > 1"),
        retries=2,
        concurrency=[Concurrency(5, "event.data.user", "env")],
        name="Double it",
    )
    async def double(ctx: Any) -> Any:
        async def twice(n: int) -> int:
            return n * 2

        got = await ctx.step.run("double", twice, ctx.event.data["n"])
        await ctx.step.sleep("nap", "90s")
        return got

    assert double.id == "shop-double"
    return client


def call(steps: dict[str, bytes] | None = None, **fields: Any) -> bytes:
    steps = steps or {}
    request = CallRequest(
        function_id="shop-double",
        run_id="r1",
        events=[EVENT],
        steps=steps,
        stack=list(steps),
        current=len(steps),
        **fields,
    )
    return render_call(request, canonical=True)


QUERY = "?fnId=shop-double&stepId=step"


@pytest.fixture
async def dev() -> Any:
    handler = Handler(app(is_production=False))
    yield handler
    await handler.close()


async def test_a_run_over_http(dev: Handler) -> None:
    status, headers, body = await dev.handle("POST", URL + QUERY, {}, call())
    assert status == 206
    assert headers["x-inngest-sdk"] == "stepwell-py:v0.1.0"
    assert headers["x-inngest-req-version"] == "2"
    (op,) = json.loads(body)
    assert (op["op"], op["id"], op["data"], op["userland"]["id"]) == ("StepRun", step_hash("double"), 8, "double")
    steps = {step_hash("double"): b'{"data":8}'}
    status, _, body = await dev.handle("POST", URL + QUERY, {}, call(steps))
    (op,) = json.loads(body)
    assert (op["op"], op["name"], op["id"]) == ("Sleep", "90s", step_hash("nap"))
    steps[step_hash("nap")] = b"null"
    assert (await dev.handle("POST", URL + QUERY, {}, call(steps)))[::2] == (200, b"8")


async def test_bad_calls(dev: Handler) -> None:
    for url, body, message in [
        (URL, call(), "fnId"),
        (URL + QUERY, b"{", "can not be read"),
        (URL + "?fnId=shop-gone", call(), "no function 'shop-gone'"),
    ]:
        status, headers, answered = await dev.handle("POST", url, {}, body)
        assert (status, headers["x-inngest-no-retry"]) == (500, "false")
        assert message in json.loads(answered)["message"]
    assert (await dev.handle("DELETE", URL, {}, b""))[0] == 405


async def test_signatures() -> None:
    handler = Handler(app(is_production=True, signing_key=KEY))
    now = int(time.time())
    body = call()
    for header in (None, sign(body, OTHER, now), sign(body, KEY, now - 400), sign(b"{}", KEY, now), "garbage"):
        headers = {"x-inngest-signature": header} if header else {}
        status, answered, content = await handler.handle("POST", URL + QUERY, headers, body)
        assert status == 401
        assert answered == {"content-type": "application/json", "x-inngest-sdk-handled": "true"}
        assert json.loads(content) == {"message": "Unauthorized"}
    status, answered, content = await handler.handle(
        "POST", URL + QUERY, {"x-inngest-signature": sign(body, KEY, now)}, body
    )
    assert status == 206
    assert verify(content, answered["x-inngest-signature"], KEY, now)
    probe = await handler.handle("POST", URL + "?probe=trust", {"x-inngest-signature": sign(b"", KEY, now)}, b"")
    assert (probe[0], probe[2]) == (200, b"")
    await handler.close()


async def test_fallback_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_SIGNING_KEY_FALLBACK", OTHER)
    handler = Handler(app(is_production=True, signing_key=KEY))
    body = call()
    headers = {"x-inngest-signature": sign(body, OTHER, int(time.time()))}
    status, answered, content = await handler.handle("POST", URL + QUERY, headers, body)
    assert status == 206
    assert verify(content, answered["x-inngest-signature"], OTHER, int(time.time())), "signed as the call was"
    await handler.close()


async def test_production_without_a_key_says_so() -> None:
    status, _, body = await Handler(app(is_production=True)).handle("POST", URL + QUERY, {}, call())
    assert status == 500
    assert "STEPWELL_SIGNING_KEY" in json.loads(body)["message"]


async def test_inspection(dev: Handler) -> None:
    status, _, body = await dev.handle("GET", URL, {}, b"")
    shown = json.loads(body)
    assert (status, shown["mode"], shown["function_count"], shown["app_id"]) == (200, "dev", 1, "shop")
    secret = Handler(app(is_production=True, signing_key=KEY))
    assert (await secret.handle("GET", URL, {}, b""))[::2] == (401, b'{"message":"Unauthorized"}')
    headers = {"x-inngest-signature": sign(b"", KEY, int(time.time()))}
    shown = json.loads((await secret.handle("GET", URL, headers, b""))[2])
    assert (shown["authentication_succeeded"], shown["mode"], shown["app_id"]) == (True, "cloud", "shop")
    assert KEY not in json.dumps(shown)
    assert KEY[13:] not in json.dumps(shown)
    elsewhere = await secret.handle("GET", URL, {**headers, "x-inngest-server-kind": "dev"}, b"")
    assert elsewhere[::2] == (403, b"{}")


async def test_in_band_registration_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_ALLOW_IN_BAND_SYNC", "0")
    handler = Handler(app(is_production=False, api_base_url="http://127.0.0.1:9"))
    monkeypatch.setattr("stepwell.sdk.platform._DELAY_S", 0)
    status, headers, _ = await handler.handle("PUT", URL, {"x-inngest-sync-kind": "in_band"}, b"{}")
    assert status == 500  # it tried to register itself
    assert headers.get("x-inngest-sync-kind") != "in_band"


async def test_in_band_registration(dev: Handler) -> None:
    status, headers, body = await dev.handle(
        "PUT", URL, {"x-inngest-sync-kind": "in_band"}, b'{"url":"http://seen.test/x"}'
    )
    assert (status, headers["x-inngest-sync-kind"]) == (200, "in_band")
    answered = json.loads(body)
    assert (answered["app_id"], answered["url"]) == ("shop", "http://seen.test/x")
    (function,) = answered["functions"]
    step = function["steps"]["step"]
    assert step["runtime"] == {"type": "http", "url": "http://seen.test/x?fnId=shop-double&stepId=step"}
    assert step["retries"] == {"attempts": 2}
    assert function["triggers"] == [{"event": "go", "expression": "event.data.n > 1"}]
    assert function["concurrency"] == [{"limit": 5, "key": "event.data.user", "scope": "env"}]
    unsigned = Handler(app(is_production=True, signing_key=KEY))
    assert (await unsigned.handle("PUT", URL, {"x-inngest-sync-kind": "in_band"}, b"{}"))[0] == 401
    mismatch = await dev.handle("PUT", URL, {"x-inngest-server-kind": "cloud"}, b"")
    assert (mismatch[0], json.loads(mismatch[2])["code"]) == (400, "server_kind_mismatch")


class FakePlatform(ThreadingHTTPServer):
    """Answers what a platform answers; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.refuse_key: str | None = None
        self.fail_first = 0
        super().__init__(("127.0.0.1", 0), _PlatformHandler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _PlatformHandler(BaseHTTPRequestHandler):
    server: FakePlatform

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = lower(self.headers.items())
        self.server.asked.append((self.command, self.path, headers, body))
        status, answer = self.server.answers.get(urlsplit(self.path).path, (404, b'{"error":"no","status":404}'))
        if len(self.server.asked) <= self.server.fail_first:
            status, answer = 503, b"busy"
        elif self.server.refuse_key and headers.get("authorization", "").startswith(self.server.refuse_key):
            status, answer = 401, b'{"error":"key","status":401}'
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    server = FakePlatform()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


async def test_out_of_band_registration(platform: FakePlatform) -> None:
    platform.answers["/fn/register"] = (200, b'{"ok":true,"modified":true}')
    handler = Handler(app(is_production=False, api_base_url=platform.url))
    status, headers, body = await handler.handle("PUT", URL + "?deployId=d1", {}, b"")
    assert (status, json.loads(body)) == (200, {"message": "Successfully registered", "modified": True})
    assert headers["x-inngest-sync-kind"] == "out_of_band"
    _, path, _, sent = platform.asked[0]
    assert path == "/fn/register?deployId=d1"
    registration = parse_registration(sent)
    assert (registration.app_name, registration.url) == ("shop", URL)
    assert registration.functions[0].retries == 2


async def test_registration_tries_the_fallback_key(platform: FakePlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_SIGNING_KEY_FALLBACK", OTHER)
    platform.answers["/fn/register"] = (200, b"{}")
    platform.refuse_key = "Bearer signkey-test-3e0c020d16ae2fa8467cb0af8488907cbaec86257d6b26c54e60696bc475fc8c"
    handler = Handler(app(is_production=True, signing_key=KEY, api_base_url=platform.url))
    assert (await handler.handle("PUT", URL, {}, b""))[0] == 200
    assert len(platform.asked) == 2


async def test_registration_failures_are_sentences(platform: FakePlatform) -> None:
    platform.answers["/fn/register"] = (400, b'{"error":"bad function","status":400}')
    handler = Handler(app(is_production=False, api_base_url=platform.url))
    status, _, body = await handler.handle("PUT", URL, {}, b"")
    assert (status, json.loads(body)["message"]) == (400, "bad function")
    platform.answers["/fn/register"] = (200, b"<html>")
    status, _, body = await handler.handle("PUT", URL, {}, b"")
    assert "did not answer" in json.loads(body)["message"]


async def test_state_that_is_too_large_is_asked_for(platform: FakePlatform) -> None:
    steps = {step_hash("double"): {"data": 8}, step_hash("nap"): None}
    platform.answers["/v0/runs/r1/actions"] = (200, json.dumps(steps).encode())
    platform.answers["/v0/runs/r1/batch"] = (200, b"[" + EVENT + b"]")
    handler = Handler(app(is_production=False, api_base_url=platform.url))
    body = json.loads(call())
    body["use_api"], body["events"] = True, []
    body["ctx"]["stack"] = {"stack": list(steps), "current": 2}
    assert (await handler.handle("POST", URL + QUERY, {}, json.dumps(body).encode()))[::2] == (200, b"8")
    await handler.close()


async def test_sending_events(platform: FakePlatform) -> None:
    platform.answers["/e/k"] = (200, b'{"ids":["01A","01B"],"status":200}')
    platform.fail_first = 1
    client = Client("shop", is_production=False, event_api_base_url=platform.url, event_key="k")
    import stepwell

    assert await client.send([stepwell.Event(name="a", data={"x": 1}), {"name": "b"}]) == ["01A", "01B"]
    first, second = platform.asked
    assert json.loads(second[3]) == [{"name": "a", "data": {"x": 1}}, {"name": "b"}]
    assert first[2]["x-inngest-event-id-seed"] == second[2]["x-inngest-event-id-seed"]
    assert await asyncio.to_thread(client.send_sync, {"name": "c"}) == ["01A", "01B"]
    platform.answers["/e/k"] = (400, b'{"ids":["01A"],"status":400,"error":"too large"}')
    with pytest.raises(stepwell.SendEventsError, match="too large") as caught:
        await client.send({"name": "a"})
    assert caught.value.ids == ["01A"]
    with pytest.raises(stepwell.SendEventsError, match="needs a name"):
        await client.send({"data": {}})


async def taken(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/api/stepwell" + QUERY, content=call())
    parsed = parse_answer(answer.status_code, lower(answer.headers.items()), answer.content)
    assert parsed.kind is AnswerKind.OPS
    assert parsed.ops[0].op == "StepRun"
    assert (await client.get("/api/stepwell")).json()["app_id"] == "shop"
    in_band = await client.put("/api/stepwell", headers={"x-inngest-sync-kind": "in_band"})
    assert in_band.json()["url"] == "http://app.test/api/stepwell"


async def test_asgi_starlette_fastapi() -> None:
    plain = asgi.serve(None, app(is_production=False))
    star, fast = Starlette(), FastAPI()
    starlette.serve(star, app(is_production=False))
    fastapi.serve(fast, app(is_production=False))
    for served in (plain, star, fast):
        transport = httpx2.ASGITransport(app=served)
        async with httpx2.AsyncClient(transport=transport, base_url="http://app.test") as client:
            await taken(client)
            assert (await client.get("/elsewhere")).status_code == 404
    assert "/api/stepwell" not in fast.openapi()["paths"]


def test_flask() -> None:
    server = Flask("shop")
    thread = flask.serve(server, app(is_production=False))
    client = server.test_client()
    answer = client.post("/api/stepwell" + QUERY, data=call())
    assert (answer.status_code, json.loads(answer.data)[0]["data"]) == (206, 8)
    steps = {step_hash("double"): b'{"data":8}', step_hash("nap"): b"null"}
    assert client.post("/api/stepwell" + QUERY, data=call(steps)).data == b"8"
    assert client.get("/api/stepwell").json["app_id"] == "shop"
    thread.close()


def official() -> Any:
    """The same function with the official SDK, served by Flask; its imports warn of their own dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import inngest
        import inngest.flask

    client = inngest.Inngest(app_id="shop", is_production=False)

    @client.create_function(fn_id="double", trigger=inngest.TriggerEvent(event="go"), retries=2)
    def double(ctx: Any) -> Any:
        got = ctx.step.run("double", lambda: 8)
        ctx.step.sleep("nap", timedelta(seconds=90))
        return got

    server = Flask("official")
    inngest.flask.serve(server, client, [double])
    return server.test_client()


@pytest.mark.filterwarnings("ignore")
def test_same_answers_as_the_official_sdk() -> None:
    server = Flask("shop")
    thread = flask.serve(server, app(is_production=False))
    ours, theirs = server.test_client(), official()
    steps: dict[str, bytes] = {}
    for name, memo in [("double", b'{"data":8}'), ("nap", b"null"), ("", b"")]:
        body = call(dict(steps))
        mine = ours.post("/api/stepwell" + QUERY, data=body)
        their = theirs.post("/api/inngest" + QUERY, data=body, headers={"content-type": "application/json"})
        assert mine.status_code == their.status_code
        for header in ("x-inngest-req-version", "content-type"):
            assert mine.headers[header] == their.headers[header]
        if name:
            (op,), (other,) = json.loads(mine.data), json.loads(their.data)
            assert {key: op.get(key) for key in ("op", "id", "data")} == {
                key: other.get(key) for key in ("op", "id", "data")
            }
            if op["op"] == "Sleep":
                assert op["name"].rstrip("s") == "90"
            steps[step_hash(name)] = memo
        else:
            assert msgspec.json.decode(mine.data) == msgspec.json.decode(their.data)
    thread.close()


async def test_functions_that_are_named_are_served_with_their_hooks() -> None:
    client = Client("app", is_production=False)

    async def handler(ctx: Any) -> None: ...

    declare = client.create_function
    first = declare(fn_id="a", trigger=TriggerEvent("go"), on_failure=handler, on_cancel=handler)(handler)
    declare(fn_id="b", trigger=TriggerEvent("go"))(handler)
    handler_of_one = Handler(client, [first])
    assert [each.id for each in handler_of_one.functions] == ["app-a", "app-a-failure", "app-a-cancelled"]
    assert [each.name for each in handler_of_one.functions] == ["a", "a (failure)", "a (cancelled)"]
    shown = msgspec.json.decode((await handler_of_one.handle("GET", URL, {}, b""))[2])
    assert shown["function_count"] == 1
    assert [each.id for each in Handler(client, [first, *first.hooks]).functions] == [
        each.id for each in handler_of_one.functions
    ]
    with pytest.raises(ConfigError, match="serve takes what @client"):
        Handler(client, [handler])  # type: ignore[list-item]


async def test_a_signing_key_that_is_none_is_told_to_who_registers_the_app() -> None:
    handler = Handler(app(is_production=True, signing_key="secret", api_base_url="http://127.0.0.1:9"))
    status, _, body = await handler.handle("PUT", URL, {}, b"")
    assert status == 500
    assert "a signing key is hex digits" in body.decode()
