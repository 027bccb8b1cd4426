"""References in plain requests: filled in by the SDK from its environment, under the rules of the platform."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import stepwell
from stepwell.transports.httpx import AsyncDurableTransport as HttpxTransport
from stepwell.transports.httpx2 import AsyncDurableTransport

KEY = stepwell.secret("PLAIN_KEY")


class Api:
    def __init__(self) -> None:
        self.url = ""
        self.seen: list[tuple[str, dict[str, str], str]] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.seen.append((request.raw_path, dict(request.headers), await request.text()))
        if request.path == "/jump":
            raise web.HTTPTemporaryRedirect(self.url.replace("127.0.0.1", "localhost") + "/landed")
        return web.Response(text="fine")


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setenv("STEPWELL_SECRET_PLAIN_KEY", "value/1")
    monkeypatch.setenv("STEPWELL_SECRETS_HOSTS", "PLAIN_KEY=127.0.0.1")
    made = Api()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", made.handle)
    async with TestServer(app) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made


async def test_fetch_fills_in_headers_and_urls(api: Api) -> None:
    response = await stepwell.fetch(f"{api.url}/x", params={"k": KEY}, headers={"X-Key": f"a {KEY}"}, json={"a": "b"})
    assert response.text == "fine"
    path, headers, body = api.seen[0]
    assert path == "/x?k=value%2F1"
    assert headers["X-Key"] == "a value/1"
    assert body == '{"a":"b"}'
    assert "value/1" not in str(response.request.url)
    assert "value/1" not in str(response.request.headers)


@pytest.mark.parametrize("kind", ["httpx", "httpx2"])
async def test_durable_transports_do_so_outside_of_a_run(api: Api, kind: str) -> None:
    import httpx

    made = (
        httpx2.AsyncClient(transport=AsyncDurableTransport())
        if kind == "httpx2"
        else httpx.AsyncClient(transport=HttpxTransport())
    )
    async with made as client:
        await client.post(f"{api.url}/x", headers={"Authorization": f"Bearer {KEY}"}, content=b"body")
    assert api.seen[0][1]["Authorization"] == "Bearer value/1"
    assert api.seen[0][2] == "body"


async def test_another_host_gets_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for hosts, words in (("PLAIN_KEY=api.example.com", "may not go to"), ("", "bound to no host")):
        monkeypatch.setenv("STEPWELL_SECRETS_HOSTS", hosts)
        with pytest.raises(stepwell.ConfigError, match=words):
            await stepwell.fetch(f"{api.url}/x", headers={"X-Key": KEY})
    assert api.seen == []


async def test_nor_does_a_redirect_to_one(api: Api) -> None:
    with pytest.raises(stepwell.ConfigError, match="may not go to http://localhost"):
        await stepwell.fetch(f"{api.url}/jump", headers={"X-Key": KEY})
    assert [path for path, _, _ in api.seen] == ["/jump"]


async def test_text_that_names_a_secret_which_no_code_asked_for_stays_text(api: Api) -> None:
    text = str(KEY).replace("PLAIN_KEY", "PATH")
    await stepwell.fetch(f"{api.url}/x", headers={"X-Key": text})
    assert api.seen[0][1]["X-Key"] == text


async def test_a_missing_value_says_what_to_set(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEPWELL_SECRET_PLAIN_KEY")
    with pytest.raises(stepwell.ConfigError, match="STEPWELL_SECRET_PLAIN_KEY"):
        await stepwell.fetch(f"{api.url}/x", headers={"X-Key": KEY})
    with pytest.raises(stepwell.ConfigError, match="STEPWELL_SECRET_PLAIN_KEY"):
        KEY.reveal()


def test_reveal_gives_the_value_for_what_is_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIN_KEY", "value")
    assert KEY.reveal() == "value"
