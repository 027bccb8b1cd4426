"""``GET /metrics``: figures for Prometheus, for who may use the API; the same for who pushes them."""

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec
from prometheus_client.metrics_core import Metric as Family
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.core.flow.holding import Holding
from stepwell.server.api.auth import require_bearer
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.health import HEALTH_TIMEOUT_S
from stepwell.server.api.problems import Problem
from stepwell.server.settings import Settings
from stepwell.server.store.base import Counts, StoreError
from stepwell.server.telemetry.metrics import CONTENT_TYPE, Metrics

KEPT = 50
"""A count holds for so many times as long as it took: counting takes one part in fifty of the store's time at most."""


class Counted(msgspec.Struct, frozen=True):
    """What the store had at ``at``, ms since 1970."""

    counts: Counts
    held: Sequence[Holding]
    at: int


class Counting:
    """Counts what is in the store: it takes long where there are millions of rows. Never twice at once.

    ``clock``: seconds, never set back. ``patience_s``: how long somebody waits for a new count before the last one has to do.
    """

    def __init__(
        self,
        engine: EngineFacade,
        now: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = HEALTH_TIMEOUT_S,
    ) -> None:
        self._engine = engine
        self._now = now
        self._clock = clock
        self._patience_s = patience_s
        self._task: asyncio.Task[Counted] | None = None
        self._last: Counted | None = None
        self._holds_until = 0.0

    async def figures(self) -> Counted:
        """The last count while it holds, else a new one. Raises StoreError; TimeoutError where there is neither in time."""
        if self._last is not None and self._clock() < self._holds_until:
            return self._last
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._count(), name="stepwell-count")
        counting = self._task
        done, _ = await asyncio.wait([counting], timeout=self._patience_s)
        if done:
            return counting.result()
        if self._last is None:
            raise TimeoutError
        return self._last

    async def _count(self) -> Counted:
        began, at = self._clock(), self._now()
        self._last = Counted(await self._engine.counts(), await self._engine.held(0), at)
        ended = self._clock()
        self._holds_until = ended + KEPT * (ended - began)
        return self._last


async def families(counting: Counting, metrics: Metrics) -> list[Family]:
    """All metrics; without those of the store when it does not answer."""
    try:
        found = await counting.figures()
    except (TimeoutError, StoreError):
        return metrics.families(store=False)
    counts = found.counts
    metrics.counted(counts.runs, counts.queued, counts.claimed, found.held, found.at / 1000)
    return metrics.families(store=True)


class MetricsPage:
    """The text format, version 0.0.4."""

    def __init__(self, engine: EngineFacade, settings: Settings, metrics: Metrics, now: Callable[[], int]) -> None:
        self._counting = Counting(engine, now)
        self._settings = settings
        self._metrics = metrics

    def route(self) -> Route:
        """Where it is mounted."""
        return Route("/metrics", self.get)

    async def get(self, request: Request) -> Response:
        """All metrics. 503 when the store does not answer."""
        require_bearer(self._settings, request.scope)
        try:
            found = await self._counting.figures()
        except TimeoutError:
            raise Problem(503, "The store does not answer.", code="store", headers={"Retry-After": "1"}) from None
        counts = found.counts
        text = self._metrics.text(counts.runs, counts.queued, counts.claimed, found.held, found.at / 1000)
        return Response(text, headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"})
