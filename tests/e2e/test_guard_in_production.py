"""What a production platform sends nowhere near home, unless its allow-list says so; a development one does."""

from pathlib import Path
from typing import Any

import pytest

from stepwell import Client, Context, FetchError, TriggerEvent
from stepwell.cli.server_options import started_settings
from tests.e2e.ugly import finish, platform
from tests.server.hostile_server import Server, hostile, plain, redirect

KEY = "signkey-prod-" + "ab" * 32
CLOUD: dict[str, Any] = {"kind": "cloud", "signing_key": KEY, "event_keys": ("e1",)}


def fetching(*urls: str) -> Client:
    client = Client("guarded")

    @client.create_function(fn_id="f", trigger=TriggerEvent(event="go"), retries=3)
    async def f(ctx: Context) -> list[Any]:
        found: list[Any] = []
        for number, url in enumerate(urls):
            try:
                found.append((await ctx.step.fetch(url, id=f"n{number}", method="POST", content=b"x")).text)
            except FetchError as error:
                found.append([error.kind, error.attempts, "allow-list" in str(error)])
        return found

    return client


def ways(server: Server) -> list[str]:
    """To the server on this machine."""
    return [f"http://{host}:{server.port}/" for host in ("127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]")]


async def test_no_request_gets_to_the_platforms_own_machine(tmp_path: Path) -> None:
    async with hostile(plain()) as server, platform(tmp_path, fetching(*ways(server)), **CLOUD) as running:
        result = await finish(running, await running.send("go", {}))
        assert result.output == [["guard", 1, True]] * 4
        assert server.connections == 0


async def test_what_is_allowed_is_reached_and_its_redirects_are_judged_too(tmp_path: Path) -> None:
    async with hostile(plain(b"inner")) as inner, hostile(redirect(f"http://127.0.0.1:{inner.port}/", "307 T")) as door:
        client = fetching(f"http://127.0.0.1:{door.port}/", f"http://127.0.0.1:{inner.port}/")
        async with platform(tmp_path, client, **CLOUD, allow=(f"127.0.0.1:{door.port}",)) as running:
            result = await finish(running, await running.send("go", {}))
        assert result.output == [["guard", 1, True]] * 2
        assert (door.connections, inner.connections) == (1, 0)


@pytest.mark.parametrize("kind", ["dev", "cloud"])
async def test_metadata_is_reached_by_neither(tmp_path: Path, kind: str) -> None:
    settings = CLOUD if kind == "cloud" else {}
    client = fetching("http://169.254.169.254/latest/", "http://metadata.google.internal/", "http://[fd00:ec2::254]/")
    async with platform(tmp_path, client, **settings) as running:
        result = await finish(running, await running.send("go", {}))
    assert [found[:2] for found in result.output] == [["guard", 1]] * 3


def test_the_command_starts_such_a_platform_with_nothing_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = started_settings("cloud", {}).settings
    assert (settings.kind, settings.allow) == ("cloud", ())
