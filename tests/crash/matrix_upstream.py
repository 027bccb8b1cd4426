"""The upstream of the kill matrix: counts everything, holds back what the test wants to hold back."""

import asyncio
import hashlib
import itertools
from collections import Counter

from aiohttp import web

from tests.crash.upstream import Upstream

FIRST = 1024
CHUNK = 128 * 1024
BODY = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(10 * CHUNK // 32))
"""Two pieces and a half."""
DIGEST = hashlib.sha256(BODY).hexdigest()
_HELD_S = 40.0


class MatrixUpstream(Upstream):
    """``given``: the serial numbers of each key, in order; ``most``: how many requests were in flight at once.

    While a part is in ``held``, its requests wait. The first answer to a part called ``flaky`` is a 503. The body goes on after
    its first ``FIRST`` bytes once ``read_along`` is set, which readers do unless ``holding``.
    """

    def __init__(self) -> None:
        super().__init__(delay_s=0.02)
        self.given: dict[str, list[int]] = {}
        self.effects: Counter[str] = Counter()
        self.bodies = 0
        self.most = 0
        self.held: set[str] = set()
        self.read_along = asyncio.Event()
        self.holding = False
        self._numbers = itertools.count(1)

    def add_routes(self, app: web.Application) -> None:
        super().add_routes(app)
        app.router.add_post("/effect", self._effect)
        app.router.add_get("/body", self._body)

    def sent(self, subject: str) -> int:
        """How often a request was seen: by its key, or by ``run id/step name``."""
        run, _, name = subject.partition("/")
        keys = [key for key, step in self.steps.items() if key == subject or step == (run, name)]
        return sum(self.seen[key] for key in keys)

    async def _charge(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        body = await request.json()
        self.seen[key] += 1
        self.flying[key] += 1
        self.most = max(self.most, self.flying.total())
        self.steps[key] = (body["run"], f"charge {body['part']}")
        try:
            if body["part"] == "flaky" and self.seen[key] == 1:
                return web.Response(status=503)
            await self._hold(body["part"], key)
            await asyncio.sleep(self.delay_s)
            serial = next(self._numbers)
            self.given.setdefault(key, []).append(serial)
            return web.json_response({"serial": serial})
        finally:
            self.flying[key] -= 1

    async def _hold(self, part: str, key: str) -> None:
        """A stalled part answers its first request when it is let go, and others at once."""
        async with asyncio.timeout(_HELD_S):
            while part in self.held and (part != "stalled" or self.seen[key] == 1):
                await asyncio.sleep(0.02)

    async def _effect(self, request: web.Request) -> web.Response:
        self.effects[(await request.json())["run"]] += 1
        return web.json_response({"serial": next(self._numbers)})

    async def _body(self, request: web.Request) -> web.StreamResponse:
        self.bodies += 1
        response = web.StreamResponse(headers={"Content-Length": str(len(BODY))})
        await response.prepare(request)
        await response.write(BODY[:FIRST])
        async with asyncio.timeout(_HELD_S):
            await self.read_along.wait()
        for at in range(FIRST, len(BODY), CHUNK):
            await response.write(BODY[at : at + CHUNK])
        return response
