"""The official SDKs in production mode on `stepwell serve`: calls signed and verified, both ways to sync, state by the API."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import httpx2
import pytest

from stepwell.server.settings import Settings
from stepwell.server.syncing import NotAnApp, sync_app
from tests.conformance.sdks.conftest import Pair
from tests.examples.platform_process import platform
from tests.ports import free_port

KEY = "signkey-prod-" + "ab" * 32
OTHER = "signkey-prod-" + "cd" * 32
HERE = Path(__file__).parent
MODULES = HERE.parents[2] / "examples" / "typescript"
APPS = [
    pytest.param("py", [sys.executable, str(HERE / "python_app.py")], None, id="py"),
    pytest.param("node", ["node", str(HERE / "node_app.mjs")], MODULES, id="node", marks=pytest.mark.node),
]


@asynccontextmanager
async def app(command: Sequence[str], cwd: Path | None, base: str, key: str) -> AsyncIterator[str]:
    """The app in production mode, with the platform at ``base``; where it listens."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    keys = {"INNGEST_SIGNING_KEY": key, "INNGEST_EVENT_KEY": "test", "INNGEST_BASE_URL": base}
    pipe = asyncio.subprocess.PIPE
    env = {**kept, **keys, "PYTHONWARNINGS": "ignore"}
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, env=env, stdout=pipe)
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
        yield line.removeprefix("listening on ")
    finally:
        process.kill()
        await process.wait()


async def synced(api: httpx2.AsyncClient, name: str) -> None:
    """Wait until the platform knows the app."""
    async with asyncio.timeout(30):
        while (await api.get(f"/v1/apps/{name}/functions")).status_code != 200:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("in_band", [True, False])
@pytest.mark.parametrize(("name", "command", "cwd"), APPS)
async def test_signed_calls_and_state_by_the_api(
    name: str, command: list[str], cwd: Path | None, in_band: bool, tmp_path: Path
) -> None:
    """In-band the platform asks the app; out of band the app is told to register itself, which needs the key."""
    port = free_port()
    async with app(command, cwd, f"http://127.0.0.1:{port}", KEY) as url:
        arguments = ["-u", f"{url}/api/inngest"] if in_band else []
        async with (
            platform(tmp_path / "s.db", "", *arguments, port=port, key=KEY) as api,
            httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as http,
        ):
            if not in_band:
                answer = await http.put("/api/inngest")
                assert answer.status_code == 200, answer.text
            await synced(api, name)
            running = Pair(api, http)
            size = [2_000_000] * 4
            sequence, large = await asyncio.gather(running.one(f"{name}/sequence"), running.one(f"{name}/large"))
            assert (len(sequence), large) == (3, size)


@pytest.mark.parametrize(("name", "command", "cwd"), APPS)
async def test_an_app_with_another_key(name: str, command: list[str], cwd: Path | None, tmp_path: Path) -> None:
    """Neither way does it come in."""
    port = free_port()
    async with (
        app(command, cwd, f"http://127.0.0.1:{port}", OTHER) as url,
        platform(tmp_path / "s.db", "", "-u", f"{url}/api/inngest", port=port, key=KEY) as api,
        httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20) as http,
    ):
        answer = await http.put("/api/inngest")
        assert answer.status_code >= 400 or answer.json()["status"] == 401
        async with aiohttp.ClientSession() as session:
            with pytest.raises(NotAnApp, match="both sides need the same signing key"):
                await sync_app(session, f"{url}/api/inngest", Settings(kind="cloud", signing_key=KEY))
        assert (await api.get(f"/v1/apps/{name}/functions")).status_code == 404
