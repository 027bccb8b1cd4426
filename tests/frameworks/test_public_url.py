"""Where the app says that it is: settings, proxies' headers and whom they are believed; the thread behind plain functions."""

import asyncio
import os
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.errors import ConfigError
from stepwell.frameworks.loop_thread import LoopThread
from stepwell.sdk.config import read_config
from stepwell.sdk.public_url import check_origin, check_path, forwarded_url, with_settings
from stepwell.sdk.serve import Handler
from tests.frameworks.test_frameworks import IN_BAND, shop

INNER = "http://10.0.0.5:8000/api/stepwell?a=1"
EVIL = {"x-forwarded-proto": "https", "x-forwarded-host": "evil.test"}


def test_settings_of_the_address() -> None:
    config = read_config({"INNGEST_SERVE_ORIGIN": "app.test:8443/", "INNGEST_SERVE_PATH": "in"})
    assert (config.serve_origin, config.serve_path) == ("https://app.test:8443", "/in")
    both = {"STEPWELL_SERVE_ORIGIN": "http://[::1]:80", "INNGEST_SERVE_ORIGIN": "http://other.test"}
    assert read_config(both).serve_origin == "http://[::1]:80"
    assert read_config({}).serve_origin is read_config({}).serve_path is None


@pytest.mark.parametrize("text", ["https://app.test/path", "ftp://app.test", "https://", "a b", "https://u@app.test"])
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(ConfigError, match="is no origin"):
        check_origin(text)


@pytest.mark.parametrize("text", ["https://app.test/x", "/x?y=1", "/x#y", "/x y"])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(ConfigError, match="is no path"):
        check_path(text)


def test_what_is_set_wins_over_what_is_asked() -> None:
    assert with_settings(INNER, None, None) == "http://10.0.0.5:8000/api/stepwell"
    assert with_settings(INNER, "https://app.test", None) == "https://app.test/api/stepwell"
    assert with_settings(INNER, None, "/x") == "http://10.0.0.5:8000/x"


def test_what_proxies_say() -> None:
    assert forwarded_url(INNER, {}, trusted=True) == INNER
    assert forwarded_url(INNER, EVIL, trusted=True) == "https://evil.test/api/stepwell?a=1"
    assert forwarded_url(INNER, EVIL, trusted=False) == "https://10.0.0.5:8000/api/stepwell?a=1"
    odd = {"x-forwarded-proto": "javascript", "x-forwarded-host": "a.test/b@c"}
    assert forwarded_url(INNER, odd, trusted=True) == INNER


@given(st.text(), st.text())
def test_no_header_leads_anywhere_but_to_another_host(proto: str, host: str) -> None:
    headers = {"x-forwarded-proto": proto, "x-forwarded-host": host}
    url = forwarded_url(INNER, headers, trusted=True)
    assert url.startswith(("http://", "https://"))
    assert url.endswith("/api/stepwell?a=1")
    assert url.count("/") == INNER.count("/")


async def test_a_stranger_can_not_lead_the_runs_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    async def register(_: Any, url: str, *args: Any) -> Any:
        told.append(url)
        return 200, {}, b""

    monkeypatch.setattr(Handler, "_register", register)
    production = {"is_production": True, "signing_key": "signkey-test-abc123def456"}
    await Handler(shop(**production)).handle("PUT", INNER, EVIL, b"")
    await Handler(shop(**production), serve_origin="app.test").handle("PUT", INNER, EVIL, b"")
    await Handler(shop(is_production=False)).handle("PUT", INNER, EVIL, b"")
    assert told == [f"https://{host}/api/stepwell" for host in ("10.0.0.5:8000", "app.test", "evil.test")]


async def test_the_platforms_own_view_gives_way_to_what_is_set() -> None:
    asked = b'{"url":"http://seen.test/x"}'
    handler = Handler(shop(is_production=False), serve_origin="https://app.test")
    _, _, body = await handler.handle("PUT", INNER, {**EVIL, **IN_BAND}, asked)
    assert b'"url":"https://app.test/x"' in body


def test_a_loop_that_lives_on() -> None:
    async def where() -> tuple[int, int]:
        return id(asyncio.get_running_loop()), threading.get_ident()

    thread = LoopThread()
    assert thread.run(where()) == thread.run(where())
    with pytest.raises(TimeoutError):
        thread.run(asyncio.sleep(60), timeout=0.01)
    assert thread.run(asyncio.sleep(0, "still")) == "still"
    thread.close()
    assert not thread.running
    assert thread.run(asyncio.sleep(0, "again")) == "again"
    thread.close()
    thread.close()


def test_a_forked_process_starts_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def where() -> int:
        return threading.get_ident()

    thread = LoopThread()
    first = thread.run(where())
    loop = thread._started
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: -1)
        assert not thread.running
        assert thread.run(where()) != first
        thread.close()
    thread._started = loop
    thread.close()
