"""Who reads along."""

import asyncio
import base64
import contextlib
import json

import aiohttp

from tests.crash.matrix_processes import AUTHORIZED, Server
from tests.crash.matrix_upstream import MatrixUpstream


class Reader:
    """Reads along a response over the API, by server-sent events; goes on at the next server when one has fallen."""

    def __init__(self, upstream: MatrixUpstream, server: Server) -> None:
        self.server = server
        self.voids = 0
        self.whole = asyncio.create_task(self._read())
        self._upstream = upstream
        self._body = bytearray()
        self._last = ""

    async def _read(self) -> bytes:
        """The body, once it is whole."""
        async with aiohttp.ClientSession(headers=AUTHORIZED, timeout=aiohttp.ClientTimeout(sock_read=1)) as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    if await self._follow(session):
                        return bytes(self._body)
                await asyncio.sleep(0.05)

    async def _follow(self, session: aiohttp.ClientSession) -> bool:
        """Whether the end has come."""
        runs = list(await self.server.statuses())
        if not runs:
            return False
        headers = {"last-event-id": self._last} if self._last else {}
        async with session.get(f"{self.server.url}/v1/runs/{runs[0]}/steps/body/stream", headers=headers) as response:
            if response.status != 200:
                return False
            fields: dict[str, str] = {}
            async for line in response.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif "event" in fields and self._take(fields):
                    return True
                else:
                    fields = {}
        return False

    def _take(self, fields: dict[str, str]) -> bool:
        data, self._last = json.loads(fields["data"]), fields["id"]
        if fields["event"] == "chunk":
            self._body += data["text"].encode() if "text" in data else base64.b64decode(data["b64"])
            if not self._upstream.holding:
                self._upstream.read_along.set()
        elif fields["event"] == "error":
            assert data["again"], data
            self.voids += 1
            self._body.clear()
            self._last = ""
        return fields["event"] == "end"
