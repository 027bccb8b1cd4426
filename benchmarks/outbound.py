"""``python -m benchmarks.outbound``: outbound clients side by side, 1 KiB answers, 100 requests at once.

The fetcher (aiohttp, guarded, timed) beside plain aiohttp, httpx2 and, where it is installed, pycurl with a bare multi loop.
"""

import asyncio
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

import aiohttp
import httpx2

from stepwell.server.fetcher.client import AiohttpFetcher
from stepwell.server.fetcher.guard import Guard
from stepwell.server.host import new_loop
from stepwell.wire.fetch import FetchBroken, FetchRequest

TOTAL = 2_000
AT_ONCE = 100
ROUNDS = 5


async def spread(one: Callable[[], Awaitable[Any]]) -> float:
    """Requests a second."""
    left = iter(range(TOTAL))

    async def worker() -> None:
        for _ in left:
            await one()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return TOTAL / (time.perf_counter() - began)


async def guarded(url: str) -> float:
    fetcher = AiohttpFetcher(Guard(allow_private=True))
    request = FetchRequest(url=url)

    async def one() -> None:
        if isinstance(await fetcher.fetch(request), FetchBroken):
            raise RuntimeError("the upstream failed")

    try:
        return await spread(one)
    finally:
        await fetcher.close()


async def plain_aiohttp(url: str) -> float:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one() -> None:
            async with session.get(url) as response:
                await response.read()

        return await spread(one)


async def plain_httpx2(url: str) -> float:
    async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=AT_ONCE), timeout=60) as client:
        return await spread(lambda: client.get(url))


async def bare_pycurl(url: str) -> float:
    return await asyncio.to_thread(_multi, url)


def _multi(url: str) -> float:
    import pycurl

    multi = pycurl.CurlMulti()
    left = TOTAL

    def handle() -> Any:
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, url)
        return curl

    def begin(curl: Any) -> None:
        curl.setopt(pycurl.WRITEDATA, BytesIO())
        multi.add_handle(curl)

    began = time.perf_counter()
    for _ in range(AT_ONCE):
        begin(handle())
        left -= 1
    open_handles = AT_ONCE
    while open_handles:
        multi.perform()
        _, done, failed = multi.info_read()
        if failed:
            raise RuntimeError(str(failed))
        for curl in done:
            multi.remove_handle(curl)
            open_handles -= 1
            if left > 0:
                left -= 1
                open_handles += 1
                begin(curl)
        multi.select(0.05)
    return TOTAL / (time.perf_counter() - began)


def main() -> None:
    """Print the table."""
    peer = subprocess.Popen([sys.executable, "-m", "benchmarks.peers"], stdout=subprocess.PIPE, text=True)
    clients = [("the fetcher (aiohttp, guarded)", guarded), ("aiohttp", plain_aiohttp), ("httpx2", plain_httpx2)]
    if importlib.util.find_spec("pycurl"):
        clients.append(("pycurl, bare multi loop", bare_pycurl))
    try:
        url = f"http://127.0.0.1:{peer.stdout.readline().strip() if peer.stdout else ''}/up"
        print("| client | requests/s, median | lowest–highest |\n|---|---|---|")
        for name, client in clients:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                rates = [runner.run(client(url)) for _ in range(ROUNDS)]
            print(f"| {name} | {statistics.median(rates):,.0f} | {min(rates):,.0f}–{max(rates):,.0f} |", flush=True)
    finally:
        peer.terminate()
        peer.wait(10)


if __name__ == "__main__":
    main()
