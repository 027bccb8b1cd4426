"""The names of the platform's metrics, for Prometheus and for OpenTelemetry. docs/telemetry.md says what each means.

OpenTelemetry's semantic conventions name what they know of; the rest begins with ``stepwell.``. Units are UCUM's.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

_QUICK = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_USUAL = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LONG = (0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600, 21_600, 86_400, 604_800)
_HTTP = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""What the semantic conventions want for HTTP."""


class Metric(NamedTuple):
    """One of our own. ``otlp``: its name in OTLP. ``attributes``: OTLP's attribute for each label.

    ``buckets``: of a histogram, seconds; () for a counter, None for a gauge.
    """

    otlp: str
    unit: str
    attributes: Mapping[str, str] = {}
    buckets: tuple[float, ...] | None = ()

    @property
    def name(self) -> str:
        """Its name for Prometheus, as OpenTelemetry's rules make it of the other one."""
        seconds = "_seconds" if self.unit == "s" else ""
        return self.otlp.replace(".", "_") + seconds + ("_total" if self.buckets == () else "")

    @property
    def labels(self) -> tuple[str, ...]:
        """Its labels for Prometheus."""
        return tuple(self.attributes)


def _as_named(*attributes: str) -> dict[str, str]:
    """Labels that are attributes of the semantic conventions."""
    return {name.replace(".", "_"): name for name in attributes}


_APP = {"app": "stepwell.app.id"}
_FUNCTION = {"function": "stepwell.function.id"}
_HOST = {"host": "stepwell.fetch.host"}
_REASON = {"reason": "stepwell.reason"}
_RUN_STATUS = {"status": "stepwell.run.status"}
_STEP = {"op": "stepwell.step.op", "status": "stepwell.step.status"}
_LIMIT = {"limit": "stepwell.limit.kind", **_REASON, "of": "stepwell.limit.of"}
_CLIENT = _as_named("http.request.method", "server.address", "server.port", "http.response.status_code", "error.type")
_SERVER = _as_named("http.request.method", "url.scheme", "http.route", "http.response.status_code", "error.type")

METRICS: Final = (
    Metric("stepwell.events.received", "{event}"),
    Metric("stepwell.runs.not_started", "{run}", {**_FUNCTION, **_REASON}),
    Metric("stepwell.runs.ended", "{run}", {**_FUNCTION, **_RUN_STATUS}),
    Metric("stepwell.run.duration", "s", _FUNCTION, _LONG),
    Metric("stepwell.steps.ended", "{step}", _STEP),
    Metric("stepwell.waits", "{wait}", _REASON),
    Metric("stepwell.queue.delay", "s", {"kind": "stepwell.item.kind"}, _USUAL),
    Metric("stepwell.app_call.duration", "s", {**_APP, "outcome": "stepwell.call.outcome"}, _USUAL),
    Metric("stepwell.fetch.attempts", "{attempt}", {**_HOST, "status": "stepwell.fetch.status"}),
    Metric("stepwell.fetch.phase.duration", "s", {**_HOST, "phase": "stepwell.fetch.phase"}, _USUAL),
    Metric("stepwell.store.transaction.duration", "s", {}, _QUICK),
    Metric("stepwell.store.commits", "{commit}"),
    Metric("stepwell.items", "{item}", {"state": "stepwell.item.state"}, None),
    Metric("stepwell.runs", "{run}", _RUN_STATUS, None),
    Metric("stepwell.work_held", "{item}", _LIMIT, None),
    Metric("stepwell.counted.timestamp", "s", {}, None),
    Metric("http.client.request.duration", "s", _CLIENT, _HTTP),
    Metric("http.server.request.duration", "s", _SERVER, _HTTP),
)
OF_STORE: Final = frozenset(metric.name for metric in METRICS if metric.buckets is None)
"""Those that are counted in the store, not by this process."""
PROCESS: Final[Mapping[str, tuple[str, str]]] = {
    "process_cpu_seconds_total": ("process.cpu.time", "s"),
    "process_resident_memory_bytes": ("process.memory.usage", "By"),
    "process_virtual_memory_bytes": ("process.memory.virtual", "By"),
    "process_open_fds": ("process.unix.file_descriptor.count", "{file_descriptor}"),
}
"""Of Prometheus' usual figures of a process, those that the semantic conventions have: names and units in OTLP."""
