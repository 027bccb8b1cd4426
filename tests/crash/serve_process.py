"""Starts, kills and asks a ``stepwell serve`` of its own process, and the app that it calls."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from stepwell.wire.signing import hashed_key
from tests.crash.platform_process import PlatformProcess

KEY = "signkey-prod-" + "ab" * 32
SEAL = "11" * 32
KEYS = {"STEPWELL_SIGNING_KEY": KEY, "STEPWELL_EVENT_KEY": "test", "STEPWELL_ENCRYPTION_KEY": SEAL}


class ServeProcess(PlatformProcess):
    """A production platform on a database that others are on as well."""

    def __init__(self, url: str, log: Path, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        super().__init__(None, log, {**KEYS, **(env or {})}, *arguments)
        self._database = url

    async def start(self) -> None:
        command = [str(Path(sys.executable).with_name("stepwell")), "serve", "--port", str(self.port)]
        command += ["--db", self._database, "--allow", "127.0.0.0/8", "--retry-interval", "200ms", *self._arguments]
        with self.db.with_suffix(".log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*command, env=self._env, stdout=log, stderr=log)
        await self.until(self._healthy, 30)

    async def get(self, path: str) -> Any:
        headers = {"authorization": f"Bearer {hashed_key(KEY)}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(self.url + path) as response,
        ):
            return await response.json()

    async def has_functions(self) -> bool:
        return "load-load" in str(await self.get("/v1/apps/load/functions"))


@asynccontextmanager
async def serving(module: str, *words: str, env: Mapping[str, str] | None = None) -> AsyncIterator[None]:
    """A module of ours in a process of its own, with the keys of the platform."""
    found = {**os.environ, **KEYS, **(env or {})}
    found.pop("STEPWELL_DEV", None)
    command = [sys.executable, "-m", module, *words]
    process = await asyncio.create_subprocess_exec(*command, env=found, cwd=Path(__file__).parents[2])
    try:
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)
