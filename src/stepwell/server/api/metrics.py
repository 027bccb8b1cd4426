"""``GET /metrics``: figures for Prometheus, for who may use the API."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.server.api.auth import require_bearer
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.health import HEALTH_TIMEOUT_S
from stepwell.server.api.problems import Problem
from stepwell.server.settings import Settings
from stepwell.server.telemetry.metrics import CONTENT_TYPE, Metrics


class MetricsPage:
    """The text format, version 0.0.4."""

    def __init__(self, engine: EngineFacade, settings: Settings, metrics: Metrics) -> None:
        self._engine = engine
        self._settings = settings
        self._metrics = metrics

    def route(self) -> Route:
        """Where it is mounted."""
        return Route("/metrics", self.get)

    async def get(self, request: Request) -> Response:
        """All metrics. 503 when the store does not answer."""
        require_bearer(self._settings, request.scope)
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                counts = await self._engine.counts()
                held = await self._engine.held(0)
        except TimeoutError:
            raise Problem(503, "The store does not answer.", code="store", headers={"Retry-After": "1"}) from None
        text = self._metrics.text(counts.runs, counts.queued, counts.claimed, held)
        return Response(text, headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"})
