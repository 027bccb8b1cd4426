"""Bodies do not pile up in memory: the platform's process, measured from outside while it takes what is far larger."""

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest

from tests.crash.platform_process import PlatformProcess
from tests.server.hostile_server import Exchange, hostile

APP = Path(__file__).with_name("memory_app.py")
MIB = 1 << 20
SIZE = 160 * MIB
PART = bytes(range(256)) * 1024
ALLOWED = 60 * MIB
"""Far more than the pieces on their way, far less than one body."""
MANY = 300 if os.environ.get("CI") == "true" else 120
EACH = 3 * MIB
EACH_HAS = 450 * 1024
"""What a body takes while it waits: the first of it, and what its connection has read."""


def resident(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


async def large(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
    for _ in range(SIZE // len(PART)):
        await exchange.send(PART)


async def endless(exchange: Exchange) -> None:
    """3 GB and more, for who takes it."""
    await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(12_000):
        await exchange.send(b"40000\r\n%b\r\n" % PART)


pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc"),
]


async def test_a_body_is_never_in_memory_whole(tmp_path: Path) -> None:
    async with hostile(endless, large) as server:
        arguments = ("--max-body", f"{SIZE}")
        platform = PlatformProcess(APP, tmp_path / "large.db", {"UPSTREAM": server.url}, *arguments)
        await platform.start()
        await platform.until(platform.has_functions)
        assert platform._process is not None
        pid = platform._process.pid
        before = resident(pid, "VmRSS")
        (event_id,) = await platform.send([{"name": "load", "data": {}}])

        async def over() -> bool:
            return set((await platform.runs()).values()) == {"completed"}

        async with asyncio.timeout(120):
            await platform.until(over, 120)
        (run,) = (await platform.get(f"/v1/events/{event_id}/runs"))["data"]
        assert run["output"] == ["too_large", SIZE]
        assert resident(pid, "VmHWM") - before < ALLOWED
        await platform.stop()
    with sqlite3.connect(tmp_path / "large.db") as conn:
        assert conn.execute("SELECT count(*) FROM bodies").fetchone() == (1,)


class Together:
    """Sends half of each body at once, and the rest when all have been asked for."""

    def __init__(self) -> None:
        self.asked = 0
        self.all = asyncio.Event()

    async def send(self, exchange: Exchange) -> None:
        self.asked += 1
        if self.asked == MANY:
            self.all.set()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % EACH)
        for half in range(2):
            for _ in range(EACH // 2 // len(PART)):
                await exchange.send(PART)
            if not half:
                await self.all.wait()


async def test_many_bodies_at_once_share_their_memory(tmp_path: Path) -> None:
    """What they take together is bounded: with two pieces for each it would be more than twice what is allowed here."""
    memory = 16 * MIB
    async with hostile(Together().send) as server:
        arguments = ("--body-memory", f"{memory}")
        platform = PlatformProcess(APP, tmp_path / "many.db", {"UPSTREAM": server.url}, *arguments)
        await platform.start()
        await platform.until(platform.has_functions)
        assert platform._process is not None
        pid = platform._process.pid
        before = resident(pid, "VmRSS")
        (event_id,) = await platform.send([{"name": "many", "data": {"many": MANY}}])

        async def over() -> bool:
            return set((await platform.runs()).values()) == {"completed"}

        await platform.until(over, 120)
        (run,) = (await platform.get(f"/v1/events/{event_id}/runs"))["data"]
        assert run["output"] == [EACH] * MANY
        assert resident(pid, "VmHWM") - before < ALLOWED + memory + MANY * EACH_HAS
        await platform.stop()
