"""The platform and an app of an official SDK, each a process of its own."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.examples.platform_process import ENDED, platform
from tests.ports import free_port


@dataclass
class Pair:
    """A platform with one app. ``app`` reaches the app's own routes."""

    api: httpx2.AsyncClient
    app: httpx2.AsyncClient

    async def run(self, event: str, data: dict[str, Any] | None = None, runs: int = 1) -> list[dict[str, Any]]:
        """Send the event ``runs`` times at once; how the runs ended."""
        body = [{"name": event, "data": data or {}}] * runs
        ids = (await self.api.post("/e/test", json=body)).json()["ids"]
        return list(await asyncio.gather(*(self._end(event_id) for event_id in ids)))

    async def _end(self, event_id: str) -> dict[str, Any]:
        async with asyncio.timeout(40):
            while True:
                found = (await self.api.get(f"/v1/events/{event_id}/runs")).json()["data"]
                if found and found[0]["status"] in ENDED:
                    return found[0]
                await asyncio.sleep(0.05)

    async def one(self, event: str) -> Any:
        """The output of one run, which has to complete."""
        (run,) = await self.run(event)
        assert run["status"] == "Completed", run
        return run["output"]

    async def steps(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """The steps of a run."""
        return (await self.api.get(f"/v1/runs/{run['run_id']}/steps")).json()["data"]

    async def ran(self) -> list[str]:
        """What the app's code ran so far."""
        return (await self.app.get("/ran")).json()["ran"]


@asynccontextmanager
async def pair(
    folder: Path, command: Sequence[str], cwd: Path | None = None, sync: str = "/api/inngest"
) -> AsyncIterator[Pair]:
    """Start both, and sync the app by a PUT, as its user does."""
    port = free_port()
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    env = kept | {"INNGEST_DEV": f"http://127.0.0.1:{port}", "PYTHONWARNINGS": "ignore"}
    async with platform(folder / "sdk.db", "", port=port) as api:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, cwd=cwd, env=env, stdout=pipe)
        assert process.stdout is not None
        try:
            line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()
            base = line.removeprefix("listening on ")
            async with httpx2.AsyncClient(base_url=base, trust_env=False, timeout=20) as app:
                synced = await app.put(sync)
                assert synced.status_code == 200, synced.text
                yield Pair(api, app)
        finally:
            process.kill()
            await process.wait()
