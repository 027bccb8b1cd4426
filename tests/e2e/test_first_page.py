"""What the first page teaches works as it says: its app, its variables, its commands; in development and in production."""

import html
import re
import shlex
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import stepwell
from stepwell.embed import Embedded
from stepwell.sdk.config import read_config
from tests.e2e.ugly import finish, platform, sdk_app

KEY = "signkey-prod-" + "ab" * 32
KEYS = {"the signing key of this platform": KEY, "one of its event keys": "e1"}
MODES: dict[str, dict[str, Any]] = {
    "dev": {},
    "serve": {"kind": "cloud", "signing_key": KEY, "event_keys": ("e1",)},
}


async def taught(running: Embedded, **headers: str) -> dict[str, str]:
    """What can be copied from the page, by its label."""
    timeout, jar = aiohttp.ClientTimeout(total=20), aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(running.url, timeout=timeout, cookie_jar=jar) as session:
        async with session.post("/login", data={"key": KEY}):
            pass
        async with session.get("/start", headers=headers) as answer:
            page = await answer.text()
    found = re.findall(r'<pre class="command"[^>]* aria-label="([^"]+)">(.*?)</pre>', page, re.DOTALL)
    return {label: html.unescape(text) for label, text in found}


def variables(text: str) -> dict[str, str]:
    """The environment of an app, with the keys that the reader has to put in."""
    pairs = (line.split("=", 1) for line in text.splitlines())
    return {name: KEYS.get(value, value) for name, value in pairs}


def environments(lines: dict[str, str]) -> list[dict[str, str]]:
    return [variables(text) for label, text in lines.items() if label.startswith("Environment variables")]


async def curl(command: str, **instead: str) -> Any:
    """What the command would send."""
    for old, new in instead.items():
        command = command.replace(old, new)
    words = shlex.split(command)
    method, url = words[words.index("-X") + 1], words[words.index("-X") + 2]
    headers = [words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H"]
    data = words[words.index("-d") + 1] if "-d" in words else None
    timeout = aiohttp.ClientTimeout(total=20)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.request(method, url, data=data, headers=dict(headers)) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return await answer.json()


@pytest.mark.parametrize(("mode", "number"), [("dev", 0), ("serve", 0), ("serve", 1)])
async def test_an_app_with_these_variables_is_synced_and_called(mode: str, number: int, tmp_path: Path) -> None:
    client = stepwell.Client("taught")

    @client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="user/created"), retries=0)
    async def f(ctx: stepwell.Context) -> str:
        return await ctx.step.run("greet", lambda: "welcome")

    async with platform(tmp_path, **MODES[mode]) as running:
        lines = await taught(running)
        asked = environments(lines)
        assert len(asked) == (1 if mode == "dev" else 2)
        client._config = read_config(asked[number])
        assert client.config.dev == (mode == "dev")
        async with sdk_app(client) as url:
            command = lines["The command that syncs a TypeScript app"]
            await curl(command.replace("http://localhost:3000/api/inngest", url))
            sent = await curl(lines["The command that sends an event"], EVENT_KEY="e1")
            assert (await finish(running, sent["ids"][0])).output == "welcome"


async def test_its_python_app_is_one(tmp_path: Path) -> None:
    async with platform(tmp_path) as running:
        code = (await taught(running))["A Python app"]
    found: dict[str, Any] = {}
    exec(code, found)
    (function,) = found["client"].functions
    assert function.id == "shop-welcome"


async def test_the_address_is_that_of_the_outermost_proxy_or_what_the_settings_say(tmp_path: Path) -> None:
    proxy = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "steps.example, inner.example"}
    odd = {"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": "<script>"}
    async with platform(tmp_path / "a", **MODES["serve"]) as running:
        for headers, wanted in ((proxy, "https://steps.example"), (odd, running.url), ({}, running.url)):
            assert environments(await taught(running, **headers))[0]["STEPWELL_BASE_URL"] == wanted
    public = "https://tools.example/steps/"
    async with platform(tmp_path / "b", **MODES["serve"], public_url=public) as running:
        lines = await taught(running, **proxy)
    assert environments(lines)[1]["INNGEST_BASE_URL"] == "https://tools.example/steps"
    assert "https://tools.example/steps/e/EVENT_KEY " in lines["The command that sends an event"]
