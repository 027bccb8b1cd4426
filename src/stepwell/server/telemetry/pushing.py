"""Sends metrics to an OpenTelemetry collector, by OTLP over HTTP, in a thread of its own."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
from prometheus_client.metrics_core import Metric as Family

from stepwell.server.telemetry.metrics import Metrics
from stepwell.server.telemetry.observers import Observer
from stepwell.server.telemetry.otlp import converted
from stepwell.server.telemetry.tracing import SCOPE, resource

Read = Callable[[], Coroutine[Any, Any, Sequence[Family]]]

_CLOSE_S = 4.0
_LET_GO_S = 1.0
_READ_S = 10.0

logger = logging.getLogger("stepwell.telemetry")


class Pushing(Observer):
    """Sends what ``metrics`` has to ``endpoint``, every ``interval_s`` and at the end. Made on the engine's loop.

    ``read``: asked on that loop for everything as it is now. At the end, when the engine is gone, ``metrics`` is asked alone.
    Name of the service, headers and time-outs come from OpenTelemetry's own variables. What can not be sent is dropped, and
    the next one tells more: figures count from the beginning. The engine never waits for the collector.
    """

    def __init__(self, endpoint: str, interval_s: float, metrics: Metrics, read: Read) -> None:
        self._interval_s = interval_s
        self._metrics = metrics
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._resource = resource()
        self._exporter = OTLPMetricExporter(endpoint=endpoint)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="stepwell-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send the last figures; give up after four seconds, which takes one more at most."""
        self._ended.set()
        self._thread.join(_CLOSE_S)
        self._exporter.shutdown()  # pyright: ignore[reportUnknownMemberType] - else it would go on trying
        self._thread.join(_LET_GO_S)

    def _work(self) -> None:
        while not self._ended.wait(self._interval_s):
            self._try(self._now)
        self._try(lambda: self._metrics.families(store=False))

    def _now(self) -> Sequence[Family]:
        asked = asyncio.run_coroutine_threadsafe(self._read(), self._loop)
        try:
            return asked.result(_READ_S)
        finally:
            asked.cancel()

    def _try(self, read: Callable[[], Sequence[Family]]) -> None:
        try:
            found = list(converted(read(), self._metrics.began_ns, time.time_ns()))
            data = MetricsData([ResourceMetrics(self._resource, [ScopeMetrics(SCOPE, found, "")], "")])
            self._exporter.export(data)  # pyright: ignore[reportUnknownMemberType]
        except Exception:
            logger.exception("metrics could not be sent")
