"""Figures of the whole process: memory when idle, time from start to healthy."""

import asyncio
import socket
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp


async def idle_memory(peer: str) -> float:
    """Resident memory of an idle ``stepwell dev``, MB."""
    async with _dev() as (pid, _):
        await asyncio.sleep(1.5)
        status = Path(f"/proc/{pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


async def start_time(peer: str) -> float:
    """Seconds from the start of the process to the first healthy answer."""
    async with _dev() as (_, seconds):
        return seconds


@asynccontextmanager
async def _dev() -> AsyncGenerator[tuple[int, float]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["dev", "--no-discovery", "--port", str(port), "--db", f"sqlite:///{folder}/bench.db"]
        command = Path(sys.executable).with_name("stepwell")
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(str(command), *arguments, stdout=asyncio.subprocess.DEVNULL)
        try:
            await healthy(f"http://127.0.0.1:{port}/health")
            yield process.pid, time.perf_counter() - began
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 30)


async def healthy(url: str) -> None:
    """Wait until the platform answers. Raises TimeoutError."""
    end = time.perf_counter() + 30
    async with aiohttp.ClientSession() as session:
        while time.perf_counter() < end:
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.01)
    raise TimeoutError("the platform did not become healthy within 30 s")
