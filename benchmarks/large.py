"""100 MB in one response: how fast, and how much memory it takes beyond what was there before."""

import asyncio
import gc
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import httpx2

import stepwell
from benchmarks.peers import LARGE_BYTES
from benchmarks.scenarios import client, fresh
from stepwell.embed import Embedded

_WAIT_S = 300.0
_MEGABYTE = 1e6


@client.create_function(fn_id="large", trigger=stepwell.TriggerEvent(event="large"), retries=0)
async def large(ctx: stepwell.Context) -> int:
    response = await ctx.step.fetch(str(ctx.event.data["url"]), stream=True, max_body="1GiB")
    return sum([len(chunk) async for chunk in response.aiter_bytes()])


async def durable_speed(peer: str) -> float:
    """MB/s from the event to the end of the run, which has read the body from the record."""
    async with fresh() as platform:
        await _run(platform, f"{peer}/up")
        began = time.perf_counter()
        await _run(platform, f"{peer}/large")
        return LARGE_BYTES / _MEGABYTE / (time.perf_counter() - began)


async def plain_speed(peer: str) -> float:
    """MB/s of plain aiohttp, which keeps nothing."""
    began = time.perf_counter()
    await _plain(f"{peer}/large")
    return LARGE_BYTES / _MEGABYTE / (time.perf_counter() - began)


async def held_speed(peer: str) -> float:
    """MB/s of plain aiohttp that has the body in the end, as our function does."""
    began = time.perf_counter()
    async with aiohttp.ClientSession() as session, session.get(f"{peer}/large") as response:
        assert len(await response.read()) == LARGE_BYTES
    return LARGE_BYTES / _MEGABYTE / (time.perf_counter() - began)


async def httpx2_speed(peer: str) -> float:
    """MB/s of httpx2, which has it too."""
    async with httpx2.AsyncClient(timeout=60) as client:
        began = time.perf_counter()
        assert len((await client.get(f"{peer}/large")).content) == LARGE_BYTES
        return LARGE_BYTES / _MEGABYTE / (time.perf_counter() - began)


async def saved_speed(peer: str) -> float:
    """MB/s of plain aiohttp that keeps the body as durably as we do: in a file that is on the disk in the end."""
    with tempfile.TemporaryFile() as file:
        began = time.perf_counter()
        await _plain(f"{peer}/large", file.write)
        file.flush()
        os.fsync(file.fileno())
        return LARGE_BYTES / _MEGABYTE / (time.perf_counter() - began)


async def durable_memory(peer: str) -> float:
    """Peak resident memory of the platform and the function, one process, beyond what it had before; MB."""
    async with fresh() as platform:
        await _run(platform, f"{peer}/up")
        return await _extra(lambda: _run(platform, f"{peer}/large"))


async def _run(platform: Embedded, url: str) -> None:
    (result,) = await platform.send_and_wait("large", {"url": url}, timeout=_WAIT_S)
    assert result.status == "completed", result
    assert result.output in (1024, LARGE_BYTES), result


async def _plain(url: str, keep: Callable[[bytes], object] = len) -> None:
    size = 0
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        async for part in response.content.iter_any():
            size += len(part)
            keep(part)
    assert size == LARGE_BYTES


async def _extra(work: Callable[[], Awaitable[None]]) -> float:
    """Linux only: the high-water mark of resident memory is set back first."""
    gc.collect()
    await asyncio.sleep(0.5)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    await work()
    return (_status("VmHWM") - before) * 1024 / _MEGABYTE


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])
