"""The platform as a process of its own, on a SQLite file, as a user starts it; and what a user asks of its API."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from stepwell.wire.signing import hashed_key
from tests.ports import free_port

ROOT = Path(__file__).parent.parent.parent
STEPWELL = str(Path(sys.executable).parent / "stepwell")
ENDED = {"Completed", "Failed", "Cancelled", "Skipped"}


async def healthy(http: httpx2.AsyncClient, process: asyncio.subprocess.Process) -> None:
    """Wait until the platform answers."""
    async with asyncio.timeout(30):
        while True:
            assert process.returncode is None, "the platform ended at its start"
            try:
                if (await http.get("/health")).status_code == 200:
                    assert process.returncode is None, "another server has the platform's port"
                    return
            except httpx2.TransportError:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def platform(
    db: Path, sample_api: str, *arguments: str, port: int = 0, key: str | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    """``stepwell dev`` with these arguments on a file at ``db``; gives a client for its API, ends it afterwards.

    With a signing ``key`` it is ``stepwell serve``, with the event key ``test``, and the client has the key.
    """
    port = port or free_port()
    options = ["--port", str(port), "--db", f"sqlite:///{db}", "--no-discovery", "--retry-interval", "100ms"]
    keys = {} if key is None else {"STEPWELL_SIGNING_KEY": key, "STEPWELL_EVENT_KEY": "test"}
    env = {**os.environ, "SAMPLE_API": sample_api, **keys}
    command = "dev" if key is None else "serve"
    process = await asyncio.create_subprocess_exec(STEPWELL, command, *arguments, *options, cwd=ROOT, env=env)
    try:
        base = f"http://127.0.0.1:{port}"
        headers = {} if key is None else {"Authorization": f"Bearer {hashed_key(key)}"}
        async with httpx2.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=20) as http:
            await healthy(http, process)
            yield http
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 20)
        except TimeoutError:
            process.kill()
            await process.wait()


async def send(http: httpx2.AsyncClient, name: str, data: dict[str, Any]) -> str:
    """Send an event; its id."""
    answer = await http.post("/e/test", json={"name": name, "data": data})
    assert answer.status_code == 200, answer.text
    return answer.json()["ids"][0]


async def output(http: httpx2.AsyncClient, event_id: str) -> Any:
    """What the one run that the event started has returned."""
    async with asyncio.timeout(40):
        while True:
            runs = (await http.get(f"/v1/events/{event_id}/runs")).json()["data"]
            if runs and all(run["status"] in ENDED for run in runs):
                (run,) = runs
                assert run["status"] == "Completed", run
                return run["output"]
            await asyncio.sleep(0.05)
