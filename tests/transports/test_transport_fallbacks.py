"""Requests that are not durable: by the fallback, without what is for the platform, with secrets filled in, or not at all."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

import stepwell
from stepwell.transports import aiohttp as durable_aiohttp
from stepwell.transports import httpx as durable_httpx
from stepwell.transports import httpx2 as durable_httpx2
from stepwell.transports import requests as durable_requests
from stepwell.transports.urllib3 import DurablePoolManager
from tests.transports.ways import ASYNC, SYNC

every_way = pytest.mark.parametrize("way", [*ASYNC, *SYNC])


async def ask(way: str, url: str, **options: Any) -> int:
    """The request from here, outside of any run."""
    if way in SYNC:
        return await asyncio.to_thread(SYNC[way], url, **options)
    return await ASYNC[way](url, **options)


@every_way
async def test_a_plain_request_has_its_secrets_and_nothing_for_the_platform(
    api: Any, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "hush")
    monkeypatch.setenv("STEPWELL_SECRETS_HOSTS", "MY_KEY=127.0.0.1")
    headers = {"stepwell-retries": "0", "Authorization": f"Bearer {stepwell.secret('MY_KEY')}", "X-Mine": "1"}
    assert await ask(way, f"{api.url}/weather", headers=headers, retry=5) == 200
    ((_, sent),) = api.seen
    assert (sent["authorization"], sent["x-mine"]) == ("Bearer hush", "1")
    assert not [name for name in sent if name.startswith("stepwell-") or name == "idempotency-key"]


@every_way
async def test_no_fallback_is_an_error(api: Any, way: str) -> None:
    with pytest.raises(
        stepwell.StepUsageError, match="outside of a run, where it can not be durable, and fallback=None"
    ):
        await ask(way, f"{api.url}/weather", fallback=None)
    assert api.seen == []


class Httpx(httpx.AsyncHTTPTransport):
    closed = False

    async def aclose(self) -> None:
        self.closed = True
        await super().aclose()


class HttpxSync(httpx.HTTPTransport):
    closed = False

    def close(self) -> None:
        self.closed = True
        super().close()


class Httpx2(httpx2.AsyncHTTPTransport):
    closed = False

    async def aclose(self) -> None:
        self.closed = True
        await super().aclose()


class Httpx2Sync(httpx2.HTTPTransport):
    closed = False

    def close(self) -> None:
        self.closed = True
        super().close()


class Adapter(HTTPAdapter):
    closed = False

    def close(self) -> None:
        self.closed = True
        super().close()


class Pools(urllib3.PoolManager):
    closed = False

    def clear(self) -> None:
        self.closed = True
        super().clear()


async def by_async(client: Any, url: str) -> None:
    async with client:
        assert (await client.get(url, headers={"X-Mine": "1"})).is_success


async def by_aiohttp(client: Any, url: str) -> None:
    async with client, client.get(url, headers={"X-Mine": "1"}) as answer:
        assert answer.status == 200


def by_sync(client: Any, url: str) -> None:
    with client:
        assert client.get(url, headers={"X-Mine": "1"}).status_code == 200


def by_urllib3(manager: Any, url: str) -> None:
    with manager:
        assert manager.request("GET", url, headers={"X-Mine": "1"}).status == 200


FALLBACKS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[..., Any]]] = {
    "httpx": (Httpx, lambda own: httpx.AsyncClient(transport=durable_httpx.AsyncDurableTransport(own)), by_async),
    "httpx2": (Httpx2, lambda own: httpx2.AsyncClient(transport=durable_httpx2.AsyncDurableTransport(own)), by_async),
    "httpx sync": (HttpxSync, lambda own: httpx.Client(transport=durable_httpx.DurableTransport(own)), by_sync),
    "httpx2 sync": (Httpx2Sync, lambda own: httpx2.Client(transport=durable_httpx2.DurableTransport(own)), by_sync),
    "aiohttp": (aiohttp.TCPConnector, durable_aiohttp.durable_session, by_aiohttp),
    "requests": (Adapter, durable_requests.durable_session, by_sync),
    "urllib3": (Pools, DurablePoolManager, by_urllib3),
}


@pytest.mark.parametrize("library", FALLBACKS)
async def test_the_fallback_that_is_given_sends_and_is_closed_with_the_client(
    api: Any, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, client, asking = FALLBACKS[library]
    own = make()
    for name in ("handle_async_request", "handle_request", "connect", "send", "urlopen"):
        if hasattr(own, name):
            monkeypatch.setattr(own, name, counted := Counted(getattr(own, name)))
    made = client(own)
    if asyncio.iscoroutinefunction(asking):
        await asking(made, f"{api.url}/weather")
    else:
        await asyncio.to_thread(asking, made, f"{api.url}/weather")
    assert counted.calls == 1
    assert own.closed
    assert api.seen[0][1]["x-mine"] == "1"


class Counted:
    """A method, and how often it was called."""

    def __init__(self, method: Any) -> None:
        self._method = method
        self.calls = 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        return self._method(*args, **options)


async def test_requests_options_of_a_call_reach_the_fallback(api: Any) -> None:
    def slow() -> None:
        with durable_requests.durable_session() as http:
            http.get(f"{api.url}/slow", timeout=0.1)

    def streamed() -> bytes:
        with durable_requests.durable_session() as http:
            return http.get(f"{api.url}/exact", stream=True).raw.read(decode_content=False)[:2]

    with pytest.raises(requests.ReadTimeout):
        await asyncio.to_thread(slow)
    assert await asyncio.to_thread(streamed) == b"\x1f\x8b"


async def test_urllib3_options_are_those_of_its_usual_fallback(api: Any, refused: str) -> None:
    made = DurablePoolManager(headers={"X-Mine": "1"}, retries=False)
    with pytest.raises(urllib3.exceptions.NewConnectionError):
        await asyncio.to_thread(made.request, "GET", refused)
    for asking in (made.request, made.urlopen):
        await asyncio.to_thread(asking, "GET", f"{api.url}/weather")
    assert [headers["x-mine"] for _, headers in api.seen] == ["1", "1"]
    made.clear()


async def test_a_secret_in_the_url_of_a_plain_request_of_aiohttp_is_refused(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "hush")
    monkeypatch.setenv("STEPWELL_SECRETS_HOSTS", "MY_KEY=127.0.0.1")
    with pytest.raises(stepwell.StepUsageError, match="a secret in a URL is filled in by the platform only"):
        await ask("aiohttp", f"{api.url}/weather?key={stepwell.secret('MY_KEY')}")
    assert api.seen == []
