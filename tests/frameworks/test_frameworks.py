"""Each framework's adapter on its real server: a run to its end, signatures, where it says that it is, large calls."""

import asyncio
import json
import time
from typing import Any

import httpx2
import pytest
from flask import Flask

import stepwell
from stepwell import Client, MiddlewareSync, TriggerEvent
from stepwell.frameworks import flask
from stepwell.wire.calls import CallRequest
from stepwell.wire.codec import render_call
from stepwell.wire.constants import MAX_REQUEST_BYTES
from stepwell.wire.signing import sign, verify
from tests.frameworks.servers import PATH, SERVERS, Served
from tests.ports import free_port

KEY = "signkey-test-abc123def456"
CALL = PATH + "?fnId=shop-order&stepId=step"
IN_BAND = {"x-inngest-sync-kind": "in_band"}


@pytest.fixture(params=SERVERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def served(name: str) -> Served:
    return SERVERS[name]


def shop(begun: list[str] | None = None, **settings: Any) -> Client:
    client = Client("shop", **settings)

    @client.create_function(fn_id="order", trigger=TriggerEvent("go"), retries=0)
    async def order(ctx: Any) -> Any:
        if begun is not None:
            begun.append(ctx.run_id)

        async def twice() -> int:
            return ctx.event.data["n"] * 2

        doubled = await ctx.step.run("double", twice)
        page = await ctx.step.fetch(ctx.event.data["url"])
        await asyncio.sleep(0)
        return [doubled, page.status_code, page.json()["app_id"]]

    assert order.id == "shop-order"
    return client


def call(data: bytes = b'{"n":4}') -> bytes:
    event = b'{"name":"go","data":' + data + b',"id":"e","ts":1,"user":{}}'
    return render_call(CallRequest(function_id="shop-order", run_id="r1", events=[event]), canonical=True)


async def test_a_run_over_http_from_its_sync_to_its_end(served: Served) -> None:
    begun: list[str] = []
    async with stepwell.embedded(db="memory:", port=free_port()) as platform:
        client = shop(begun, is_production=False, api_base_url=platform.url)
        with served(client) as origin:
            async with httpx2.AsyncClient() as asked:
                synced = await asked.put(origin + PATH)
            assert (synced.status_code, synced.json()) == (
                200,
                {"message": "Successfully registered", "modified": True},
            )
            (run,) = await platform.send_and_wait("go", {"n": 4, "url": origin + PATH}, timeout=30)
    assert (run.status, run.output) == ("completed", [8, 200, "shop"])
    assert len(begun) == 1, "the suspended run is resumed by the next request, not replayed"


def test_signatures_in_production(served: Served, name: str) -> None:
    with served(shop(is_production=True, signing_key=KEY)) as origin, httpx2.Client(base_url=origin) as client:
        body = call()
        assert client.get(PATH).status_code == 401
        shown = client.get(PATH, headers={"x-inngest-signature": sign(b"", KEY, int(time.time()))})
        assert (shown.status_code, shown.json()["authentication_succeeded"]) == (200, True)
        assert shown.headers["x-inngest-framework"] == name.split(maxsplit=1)[0]
        assert shown.headers["content-type"].startswith("application/json")
        assert client.post(CALL, content=body).status_code == 401
        assert client.put(PATH, headers=IN_BAND, content=b"{}").status_code == 401
        signed = client.post(CALL, content=body, headers={"x-inngest-signature": sign(body, KEY, int(time.time()))})
        assert (signed.status_code, signed.json()[0]["data"]) == (206, 8)
        assert verify(signed.content, signed.headers["x-inngest-signature"], KEY, int(time.time()))


def test_the_address_is_what_proxies_say(served: Served) -> None:
    proxied = IN_BAND | {"x-forwarded-proto": "https", "x-forwarded-host": "shop.test, inner.test"}
    with served(shop(is_production=False)) as origin, httpx2.Client(base_url=origin) as client:
        assert client.put(PATH, headers=proxied).json()["url"] == "https://shop.test" + PATH
        plain = client.put(PATH + "?x=1", headers=IN_BAND).json()
        assert plain["url"] == origin + PATH
        assert plain["functions"][0]["steps"]["step"]["runtime"]["url"].startswith(origin + PATH + "?fnId=")


def test_the_address_is_what_it_is_told(served: Served, name: str) -> None:
    where = {"serve_origin": "https://shop.test", "serve_path": "/public"}
    at = {} if name.startswith("aws") else {"path": "/inner"}
    with served(shop(is_production=False), **where, **at) as origin, httpx2.Client(base_url=origin) as client:
        assert client.put("/inner", headers=IN_BAND).json()["url"] == "https://shop.test/public"
    with served(shop(is_production=False), serve_path="/public") as origin, httpx2.Client(base_url=origin) as client:
        assert client.get("/public").json()["app_id"] == "shop"


def test_middleware_gets_the_request_as_the_framework_has_it(served: Served, name: str) -> None:
    raw: list[Any] = []

    class Sees(MiddlewareSync):
        def before_execution(self) -> None:
            raw.append(self.raw_request)

    with served(shop(is_production=False, middleware=[Sees])) as origin:
        assert httpx2.post(origin + CALL, content=call()).json()[0]["data"] == 8
    (seen,) = raw
    own = {
        "flask": {"Request"},
        "django": {"WSGIRequest", "ASGIRequest"},
        "aiohttp": {"Request"},
        "tornado": {"HTTPServerRequest"},
    }
    assert type(seen).__name__ in own.get(name.split(maxsplit=1)[0], {"dict"})


def test_calls_may_be_large(served: Served) -> None:
    data = json.dumps({"n": 4, "text": "x" * 5_000_000}).encode()
    with served(shop(is_production=False)) as origin, httpx2.Client(base_url=origin, timeout=30) as client:
        assert client.post(CALL, content=call(data)).json()[0]["data"] == 8


def test_calls_may_not_be_too_large() -> None:
    app = Flask("shop")
    flask.serve(app, shop(is_production=False))
    answer = app.test_client().post(CALL, data=bytes(MAX_REQUEST_BYTES + 1))
    assert (answer.status_code, b"too large" in answer.data) == (413, True)


@pytest.mark.parametrize("elsewhere", ["asgi", "wsgi", "flask", "django on asgi", "litestar", "tornado", "aiohttp"])
def test_other_paths_and_methods_are_the_frameworks(elsewhere: str) -> None:
    with SERVERS[elsewhere](shop(is_production=False)) as origin, httpx2.Client(base_url=origin) as client:
        assert client.get("/elsewhere").status_code == 404
        assert client.delete(PATH).status_code == 405
