"""``GET /metrics``: figures for Prometheus, for who may use the API; the same for who pushes them."""

from prometheus_client.metrics_core import Metric as Family
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepwell.server.api.auth import require_bearer
from stepwell.server.api.counting import Counting
from stepwell.server.api.problems import Problem
from stepwell.server.settings import Settings
from stepwell.server.store.base import StoreError
from stepwell.server.telemetry.metrics import CONTENT_TYPE, Metrics


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

    def __init__(self, settings: Settings, metrics: Metrics, counting: Counting) -> None:
        self._counting = counting
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
