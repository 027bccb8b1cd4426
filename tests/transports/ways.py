"""Every client that has a durable transport, each asked in the same way: a request goes out, and its status comes back."""

from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import anthropic
import httpx
import httpx2
import openai
import requests

from stepwell.transports import aiohttp as durable_aiohttp
from stepwell.transports import requests as durable_requests
from stepwell.transports.anthropic import durable_anthropic
from stepwell.transports.openai import durable_openai
from stepwell.transports.urllib3 import DurablePoolManager

Headers = dict[str, str] | None


async def by_httpx(lib: Any, url: str, headers: Headers = None, **options: Any) -> int:
    transport = import_module(f"stepwell.transports.{lib.__name__}").AsyncDurableTransport(**options)
    async with lib.AsyncClient(transport=transport) as http:
        return (await http.get(url, headers=headers)).status_code


def by_httpx_sync(lib: Any, url: str, headers: Headers = None, **options: Any) -> int:
    transport = import_module(f"stepwell.transports.{lib.__name__}").DurableTransport(**options)
    with lib.Client(transport=transport) as http:
        return http.get(url, headers=headers).status_code


async def by_aiohttp(url: str, headers: Headers = None, **options: Any) -> int:
    async with durable_aiohttp.durable_session(**options) as http, http.get(url, headers=headers) as answer:
        return answer.status


def by_requests(url: str, headers: Headers = None, **options: Any) -> int:
    with durable_requests.durable_session(**options) as http:
        return http.get(url, headers=headers).status_code


def by_adapter(url: str, headers: Headers = None, **options: Any) -> int:
    with requests.Session() as http:
        http.mount("http://", durable_requests.DurableAdapter(**options))
        return http.get(url, headers=headers).status_code


def by_urllib3(url: str, headers: Headers = None, **options: Any) -> int:
    return DurablePoolManager(**options).request("GET", url, headers=headers).status


async def by_sdk(durable: Any, made: Any, url: str, headers: Headers = None, **options: Any) -> int:
    parts = urlsplit(url)
    async with durable(made(api_key="k", base_url=f"{parts.scheme}://{parts.netloc}"), **options) as client:
        rest = url.removeprefix(f"{parts.scheme}://{parts.netloc}")
        return (await client.get(rest, cast_to=httpx2.Response, options={"headers": headers or {}})).status_code


def by_sdk_sync(durable: Any, made: Any, url: str, headers: Headers = None, **options: Any) -> int:
    parts = urlsplit(url)
    with durable(made(api_key="k", base_url=f"{parts.scheme}://{parts.netloc}"), **options) as client:
        rest = url.removeprefix(f"{parts.scheme}://{parts.netloc}")
        return client.get(rest, cast_to=httpx2.Response, options={"headers": headers or {}}).status_code


def _of(ask: Callable[..., Any], *first: Any) -> Callable[..., Any]:
    return lambda *args, **options: ask(*first, *args, **options)


ASYNC: dict[str, Callable[..., Any]] = {
    "httpx": _of(by_httpx, httpx),
    "httpx2": _of(by_httpx, httpx2),
    "aiohttp": by_aiohttp,
    "openai": _of(by_sdk, durable_openai, openai.AsyncOpenAI),
    "anthropic": _of(by_sdk, durable_anthropic, anthropic.AsyncAnthropic),
}
SYNC: dict[str, Callable[..., Any]] = {
    "httpx sync": _of(by_httpx_sync, httpx),
    "httpx2 sync": _of(by_httpx_sync, httpx2),
    "requests": by_requests,
    "requests adapter": by_adapter,
    "urllib3": by_urllib3,
    "openai sync": _of(by_sdk_sync, durable_openai, openai.OpenAI),
    "anthropic sync": _of(by_sdk_sync, durable_anthropic, anthropic.Anthropic),
}


def function(way: str, *args: Any, **options: Any) -> Callable[[Any], Any]:
    """A function, ``async def`` or ``def``, that makes one request and returns the status."""
    if way in SYNC:

        def f(ctx: Any) -> Any:
            return SYNC[way](*args, **options)

        return f

    async def g(ctx: Any) -> Any:
        return await ASYNC[way](*args, **options)

    return g
