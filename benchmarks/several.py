"""Processes of ``stepwell dev`` side by side on one PostgreSQL: a burst of events over HTTP, functions over HTTP."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp

from benchmarks import storage
from benchmarks.process import healthy
from benchmarks.scenarios import HTTP_FUNCTIONS, http_function
from stepwell.server.store.postgres.connect import connect

_EVENTS = 2_000
_A_REQUEST = 10
_REQUESTS_AT_ONCE = 8
_LOOK_S = 0.05
_WAIT_S = 120.0


class Platform(NamedTuple):
    """A process."""

    url: str
    pid: int


async def one_step_runs(peer: str, processes: int) -> float:
    """Runs of one step a second, from the first event to the end of the last run."""
    async with storage.database() as url, AsyncExitStack() as stack:
        urls = [(await stack.enter_async_context(platform(url))).url for _ in range(processes)]
        session = await stack.enter_async_context(aiohttp.ClientSession())
        await sync(session, urls, peer)
        await _burst(session, url, urls, 200, 0)
        began = time.perf_counter()
        await _burst(session, url, urls, _EVENTS, 200)
        return _EVENTS / (time.perf_counter() - began)


async def _burst(session: aiohttp.ClientSession, database: str, urls: Sequence[str], events: int, before: int) -> None:
    """Send the events to all platforms in turn; wait until as many runs more than ``before`` have completed."""
    requests = iter(range(events // _A_REQUEST))

    async def sender() -> None:
        for number in requests:
            body: list[dict[str, object]] = [{"name": "bench-step", "data": {}} for _ in range(_A_REQUEST)]
            async with session.post(f"{urls[number % len(urls)]}/e/bench", json=body) as response:
                response.raise_for_status()

    await asyncio.gather(*(sender() for _ in range(_REQUESTS_AT_ONCE)))
    await _completed(database, before + events)


async def _completed(database: str, runs: int) -> None:
    end = time.perf_counter() + _WAIT_S
    conn = await connect(database)
    try:
        while await conn.fetchval("SELECT count(*) FROM stepwell.runs WHERE status = 'completed'") < runs:
            if time.perf_counter() > end:
                raise TimeoutError(f"the runs did not complete within {_WAIT_S:g} s")
            await asyncio.sleep(_LOOK_S)
    finally:
        await conn.close()


async def sync(session: aiohttp.ClientSession, urls: Sequence[str], peer: str) -> None:
    """Tell each platform of the functions of the peer."""
    functions = [http_function(name, peer) for name in HTTP_FUNCTIONS]
    body = {"appName": "bench", "url": f"{peer}/fn", "sdk": "b", "framework": "", "v": "0.1", "functions": functions}
    for url in urls:
        async with session.post(f"{url}/fn/register", json=body) as response:
            response.raise_for_status()


@asynccontextmanager
async def platform(database: str) -> AsyncGenerator[Platform]:
    """One in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("stepwell")), "dev", "--no-discovery", "--port", str(port)]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--db",
        database,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=dict(os.environ),
    )
    try:
        await healthy(f"http://127.0.0.1:{port}/health")
        yield Platform(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 60)
