"""An upstream that outlives the platform: counts what it saw by idempotency key, and answers slowly."""

import asyncio
import itertools
from collections import Counter
from typing import Self

from aiohttp import web


class Upstream:
    """``seen`` counts requests by key; ``steps`` says which run and step a key belongs to."""

    def __init__(self, delay_s: float = 0.03) -> None:
        self.delay_s = delay_s
        self.seen: Counter[str] = Counter()
        self.flying: Counter[str] = Counter()
        self.steps: dict[str, tuple[str, str]] = {}
        self._serial = itertools.count(1)
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        self.add_routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/charge", self._charge)

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def reaches(self, requests: int, seconds: float = 30.0) -> None:
        """Wait until so many different requests have been seen."""
        async with asyncio.timeout(seconds):
            while len(self.seen) < requests:
                await asyncio.sleep(0.001)

    async def _charge(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        self.seen[key] += 1
        self.flying[key] += 1
        try:
            body = await request.json()
            self.steps[key] = (body["run"], f"charge {body['part']}")
            await asyncio.sleep(self.delay_s)
            return web.json_response({"serial": next(self._serial), **body})
        finally:
            self.flying[key] -= 1
