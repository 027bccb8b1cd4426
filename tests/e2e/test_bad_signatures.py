"""Production mode: what is not signed, or signed with another key, is refused on both sides, with a reason."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stepwell import Client, Context, Event, SendEventsError, TriggerEvent
from stepwell.wire.signing import hashed_key, sign
from tests.e2e.ugly import api, finish, platform, sdk_app, sync

KEY = "signkey-prod-" + "ab" * 32
OTHER = "signkey-prod-" + "cd" * 32
CLOUD: dict[str, Any] = {"kind": "cloud", "signing_key": KEY, "event_keys": ("events",)}


def app(key: str | None, **options: Any) -> Client:
    """An app in production mode, with one function."""
    client = Client("signed", is_production=True, signing_key=key, event_key="events", **options)

    @client.create_function(fn_id="f", trigger=TriggerEvent("go"), retries=1)
    async def f(ctx: Context) -> str:
        return await ctx.step.run("one", lambda: "done")

    return client


async def test_the_same_key_on_both_sides(tmp_path: Path) -> None:
    client = app(KEY)
    async with platform(tmp_path, **CLOUD) as running, sdk_app(client) as url:
        await sync(running, client, url)
        assert (await finish(running, await running.send("go", {}))).output == "done"


async def test_the_platform_calls_with_another_key(tmp_path: Path) -> None:
    """The app runs nothing and answers 401; the run fails and says which setting to look at."""
    client = app(OTHER)
    async with platform(tmp_path, **CLOUD) as running, sdk_app(client) as url:
        await sync(running, client, url)
        result = await finish(running, await running.send("go", {}))
        assert result.status == "failed"
        assert "status 401" in result.output["message"]
        assert "both sides need the same signing key" in result.output["message"]


async def test_an_unsigned_platform_calls_a_production_app(tmp_path: Path) -> None:
    client = app(KEY)
    async with platform(tmp_path) as running, sdk_app(client) as url:
        await sync(running, client, url)
        result = await finish(running, await running.send("go", {}))
        assert result.status == "failed"
        assert "both sides need the same signing key" in result.output["message"]


async def test_an_app_without_a_key_in_production_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEPWELL_SIGNING_KEY", raising=False)
    monkeypatch.delenv("INNGEST_SIGNING_KEY", raising=False)
    client = app(None)
    async with platform(tmp_path, **CLOUD) as running, sdk_app(client) as url:
        await sync(running, client, url)
        result = await finish(running, await running.send("go", {}))
        assert result.status == "failed"
        assert "set STEPWELL_SIGNING_KEY" in result.output["message"]


SIGNATURES = {
    "none": lambda body: {},
    "garbage": lambda body: {"x-inngest-signature": "t=1&s=zz"},
    "another key": lambda body: {"x-inngest-signature": sign(body, OTHER, int(time.time()))},
    "too old": lambda body: {"x-inngest-signature": sign(body, KEY, 1_000_000_000)},
    "another body": lambda body: {"x-inngest-signature": sign(b"{}", KEY, int(time.time()))},
}


@pytest.mark.parametrize("name", SIGNATURES)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_somebody_else_calls_the_app(name: str, method: str) -> None:
    body = msgspec.json.encode({"ctx": {"run_id": "r"}, "event": {}, "events": [], "steps": {}})
    async with sdk_app(app(KEY)) as url:
        headers = {**SIGNATURES[name](body), "x-inngest-sync-kind": "in_band"}
        status, _, said = await api(Address(url), method, "?fnId=signed-f&stepId=step", data=body, headers=headers)
        assert (status, said) == (401, {"message": "Unauthorized"})


class Address:
    """Something that has a URL."""

    def __init__(self, url: str) -> None:
        self.url = url


async def test_an_app_that_registers_with_another_key(tmp_path: Path) -> None:
    async with platform(tmp_path, **CLOUD) as running, sdk_app(app(OTHER, api_base_url=running.url)) as url:
        headers = {"x-inngest-signature": sign(b"", OTHER, int(time.time())), "x-inngest-server-kind": "cloud"}
        status, _, said = await api(Address(url), "PUT", "", data=b"", headers=headers)
        assert status >= 400
        assert "STEPWELL_SIGNING_KEY" in said["message"]
        dev = {"authorization": f"Bearer {hashed_key(KEY)}"}
        assert (await api(running, "GET", "/v1/runs", headers=dev))[2]["data"] == []


@pytest.mark.parametrize("key", ["", "Bearer ", f"Bearer {OTHER}", f"Bearer {hashed_key(OTHER)}", "Basic eDp5"])
@pytest.mark.parametrize("path", ["/v1/runs", "/v0/runs/01JQDAE4RQF8MBCR55T5AK4KXT/actions", "/fn/register"])
async def test_reading_without_the_key(key: str, path: str, tmp_path: Path) -> None:
    async with platform(tmp_path, **CLOUD) as running:
        headers = {"authorization": key} if key else {}
        status, _, said = await api(running, "POST" if "register" in path else "GET", path, headers=headers)
        assert status == 401
        assert "signing key" in said["error"]


async def test_events_under_an_unknown_key(tmp_path: Path) -> None:
    async with platform(tmp_path, **CLOUD) as running:
        status, _, said = await api(running, "POST", "/e/other", json={"name": "go"})
        assert (status, said["error"]) == (401, "Event key not found")


async def test_the_client_says_why_its_event_was_refused(tmp_path: Path) -> None:
    async with platform(tmp_path, **CLOUD) as running:
        wrong = Client("signed", is_production=True, signing_key=KEY, event_key="wrong", event_api_base_url=running.url)
        with pytest.raises(SendEventsError, match="Event key not found"):
            await wrong.send(Event(name="go"))
