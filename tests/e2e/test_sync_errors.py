"""What keeps an app from being synced is on the page of apps, in words, and goes when it is mended."""

import asyncio
import html
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import stepwell
from stepwell.embed import Embedded
from stepwell.server import discovery
from tests.e2e.ugly import api, platform, sdk_app, until
from tests.ports import free_port

KEY, OTHER = "signkey-test-abc123def456", "signkey-test-ffff00001111"
CLOUD: dict[str, Any] = {"kind": "cloud", "signing_key": KEY, "event_keys": ("k",)}


def shop(**config: Any) -> stepwell.Client:
    client = stepwell.Client(app_id="shop", **config)

    @client.create_function(fn_id="greet", trigger=stepwell.TriggerEvent(event="go"))
    async def greet(ctx: stepwell.Context) -> str:
        return ctx.run_id

    del greet
    return client


@asynccontextmanager
async def answering(answer: Callable[[], web.Response]) -> AsyncIterator[str]:
    async def handle(_request: web.Request) -> web.Response:
        return answer()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as server:
        yield str(server.make_url("/api/stepwell"))


@asynccontextmanager
async def speaking(what: bytes) -> AsyncIterator[str]:
    """Something that says ``what`` to whoever comes, and hangs up."""

    async def said(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(what)
        writer.close()

    server = await asyncio.start_server(said, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/stepwell"


async def page_of_apps(running: Embedded) -> str:
    """Its text, without tags."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=20)) as session:
        if not running.settings.dev:
            await (await session.post(f"{running.url}/login", data={"key": KEY})).read()
        async with session.get(f"{running.url}/apps") as response:
            assert response.url.path == "/apps"
            text = await response.text()
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", text.partition("<tbody>")[2]).split()))


async def shows(running: Embedded, *words: str) -> str:
    """The page, once it has all of them."""
    found = [""]

    async def there() -> bool:
        found[0] = await page_of_apps(running)
        return all(word in found[0] for word in words)

    try:
        await until(there, 20)
    except TimeoutError:
        pytest.fail(f"not on the page: {words} in {found[0]!r}")
    return found[0]


NO_APP = [
    pytest.param(lambda: answering(lambda: web.json_response({}, status=404)), "(HTTP 404) is not an app", id="404"),
    pytest.param(
        lambda: answering(lambda: web.Response(text="<html>Welcome!</html>", content_type="text/html")),
        "(HTTP 200, a web page) is not an app; check the path",
        id="html",
    ),
    pytest.param(lambda: speaking(b"220 mail.example ESMTP\r\n"), "does not speak HTTP; check the port", id="no http"),
    pytest.param(lambda: speaking(b""), "hung up without an answer", id="hangs up"),
]


@pytest.mark.parametrize(("serving", "said"), NO_APP)
async def test_a_url_that_is_no_app_is_on_the_page_with_what_is_there(tmp_path: Path, serving: Any, said: str) -> None:
    async with serving() as url, platform(tmp_path, app_urls=(url,)) as running:
        text = await shows(running, "failed", url, said)
        assert "No app has registered" not in text


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:{port}/api/stepwell", "Nothing answers at {url} yet; is the app running?"),
        ("http://no-such-host.invalid:{port}/api", "The host of {url} is not known"),
        ("http://user:hush@127.0.0.1:{port}/api", "Nothing answers at http://***@127.0.0.1:{port}/api yet"),
    ],
    ids=["refused", "unknown host", "credentials"],
)
async def test_a_url_that_nobody_answers_at_is_on_the_page(tmp_path: Path, url: str, said: str) -> None:
    port = free_port()
    url = url.format(port=port)
    async with platform(tmp_path, app_urls=(url,)) as running:
        assert "hush" not in await shows(running, "failed", said.format(url=url, port=port))


async def test_an_app_that_speaks_no_tls_or_has_a_certificate_of_its_own_is_on_the_page(tmp_path: Path) -> None:
    async with answering(lambda: web.json_response({})) as plain:
        url = plain.replace("http://", "https://")
        async with platform(tmp_path, app_urls=(url,)) as running:
            await shows(running, "failed", f"What answers at {url} does not speak TLS")


@pytest.mark.parametrize("platforms", [KEY, None], ids=["serve", "dev"])
async def test_an_app_with_another_key_is_on_the_page(tmp_path: Path, platforms: str | None) -> None:
    settings = CLOUD if platforms else {}
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(sdk_app(shop(is_production=True, signing_key=OTHER)))
        running = await stack.enter_async_context(platform(tmp_path, app_urls=(url,), **settings))
        said = "both sides need the same signing key" if platforms else "set STEPWELL_DEV to match"
        await shows(running, "failed", url, said)


async def test_an_app_with_a_function_that_can_not_be_read_is_on_the_page(tmp_path: Path) -> None:
    client = stepwell.Client(app_id="shop")

    @client.create_function(fn_id="greet", trigger=stepwell.TriggerEvent(event="go", expression="event.data.("))
    async def greet(ctx: stepwell.Context) -> str:
        return ctx.run_id

    del greet
    async with sdk_app(client) as url, platform(tmp_path, app_urls=(url,)) as running:
        await shows(running, "failed", f"The app at {url} was not accepted: ")


async def test_an_app_that_goes_away_is_seen_to_be_away_and_to_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "INTERVAL_S", 0.1)
    port = free_port()
    async with AsyncExitStack() as stack:
        app = AsyncExitStack()
        url = await app.enter_async_context(sdk_app(shop(), port))
        running = await stack.enter_async_context(platform(tmp_path, app_urls=(url,)))
        assert "failed" not in await shows(running, "shop", "synced")
        await app.aclose()
        text = await shows(running, "shop", "failed", f"Nothing answers at {url} yet")
        assert "synced" not in text
        _, _, answer = await api(running, "GET", "/v1/apps")
        assert "Nothing answers" in answer["data"][0]["error"]
        assert len(answer["data"]) == 1
        await stack.enter_async_context(sdk_app(shop(), port))
        assert "failed" not in await shows(running, "shop", "synced")


async def test_after_a_restart_a_known_app_that_is_away_is_one_row(tmp_path: Path) -> None:
    async with sdk_app(shop()) as url, platform(tmp_path, app_urls=(url,)) as running:
        await shows(running, "shop", "synced")
    async with platform(tmp_path, app_urls=(url,)) as running:
        text = await shows(running, "shop", "failed", "Nothing answers")
        assert text.count("failed") == 1
