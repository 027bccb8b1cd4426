"""Starts, kills and asks a ``stepwell dev`` of its own process."""

import asyncio
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import aiohttp

from tests.ports import free_port

_START_S = 20.0


class PlatformProcess:
    """One database file, and processes on it one after the other."""

    def __init__(self, app: Path | None, db: Path, env: dict[str, str], *arguments: str) -> None:
        self.app = app
        self.db = db
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = {**os.environ, **env}
        self._arguments = arguments
        self._process: asyncio.subprocess.Process | None = None
        self.errors = ""

    async def start(self) -> None:
        """Start, and wait until it is healthy."""
        command = [str(Path(sys.executable).with_name("stepwell")), "dev", *([str(self.app)] if self.app else [])]
        command += ["--no-discovery", "--port", str(self.port), "--db", f"sqlite:///{self.db}", *self._arguments]
        with self.db.with_suffix(".log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*command, env=self._env, stdout=log, stderr=log)
        await self.until(self._healthy, _START_S)

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.returncode is None

    def signal(self, number: int) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self.gone()

    async def stop(self) -> int:
        """SIGTERM, and wait until it is gone."""
        if self._process is None or self._process.returncode is not None:
            return 0
        self.signal(signal.SIGTERM)
        return await self.gone()

    async def gone(self, seconds: float = 45.0) -> int:
        """Wait until the process has ended; its exit code."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), seconds)

    async def get(self, path: str) -> Any:
        """The JSON behind a path."""
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as response:
            return await response.json()

    async def send(self, events: list[dict[str, Any]]) -> list[str]:
        """Send events; their internal ids."""
        async with aiohttp.ClientSession() as session, session.post(f"{self.url}/e/test", json=events) as response:
            assert response.status == 200, await response.text()
            return list((await response.json())["ids"])

    async def runs(self) -> dict[str, str]:
        """Every run's status, by id."""
        found: dict[str, str] = {}
        with sqlite3.connect(f"file:{self.db}?mode=ro", uri=True) as connection:
            found.update(connection.execute("SELECT run_id, status FROM runs").fetchall())
        return found

    async def has_functions(self) -> bool:
        """Whether the functions of the load are registered."""
        return "load-load" in str(await self.get("/dev"))

    async def until(self, condition: Any, seconds: float = 60.0) -> None:
        """Wait until the coroutine function says yes."""
        end = asyncio.get_running_loop().time() + seconds
        while not await condition():
            if asyncio.get_running_loop().time() > end:
                log = self.db.with_suffix(".log").read_text()[-3000:]
                raise TimeoutError(f"not within {seconds:g} s; the platform's log ends with:\n{log}")
            await asyncio.sleep(0.05)

    async def _healthy(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.db.with_suffix(".log").read_text()
        try:
            return "status" in await self.get("/health")
        except (aiohttp.ClientError, ValueError):
            return False
