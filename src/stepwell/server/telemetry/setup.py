"""Which observers the settings ask for."""

import os
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from prometheus_client.metrics_core import Metric as Family

from stepwell.server.settings import Settings, SettingsError
from stepwell.server.telemetry.logs import RunLog
from stepwell.server.telemetry.metrics import Metrics
from stepwell.server.telemetry.observers import Observer

_INTERVAL_MS = "60000"


def traced(settings: Settings) -> bool:
    """Whether spans are made."""
    return settings.otlp_endpoint is not None and _exported("OTEL_TRACES_EXPORTER")


def pushed(settings: Settings) -> str | None:
    """Where metrics are sent, by OTLP; None: nowhere."""
    if not _exported("OTEL_METRICS_EXPORTER"):
        return None
    whole = f"{settings.otlp_endpoint}/v1/metrics" if settings.otlp_endpoint is not None else None
    return os.environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") or whole


def observers(settings: Settings, address: Callable[[str], str]) -> list[Observer]:
    """Those that the settings ask for. ``address``: where an app is called. Raises SettingsError without the extra."""
    found: list[Observer] = [RunLog()] if settings.log_format == "json" else []
    if settings.otlp_endpoint is not None and traced(settings):
        try:
            from stepwell.server.telemetry.tracing import Tracing
        except ModuleNotFoundError as problem:
            raise SettingsError("Traces need the otel extra: pip install 'stepwell[otel]'.") from problem
        found.append(Tracing(settings.otlp_endpoint, address))
    return found


def pusher(endpoint: str, metrics: Metrics, read: Callable[[], Coroutine[Any, Any, Sequence[Family]]]) -> Observer:
    """What sends ``metrics`` to ``endpoint``, see ``pushing.Pushing``.

    Raises SettingsError without the extra, or where OpenTelemetry's variable of the interval makes no sense.
    """
    try:
        from stepwell.server.telemetry.pushing import Pushing
    except ModuleNotFoundError as problem:
        raise SettingsError("Metrics by OTLP need the otel extra: pip install 'stepwell[otel]'.") from problem
    return Pushing(endpoint, _interval_s(), metrics, read)


def _exported(variable: str) -> bool:
    """Whether OpenTelemetry's variables let this be sent by OTLP."""
    wanted = [name.strip() for name in (os.environ.get(variable) or "otlp").split(",")]
    return "otlp" in wanted and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


def _interval_s() -> float:
    given = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL") or _INTERVAL_MS
    if not given.isdecimal() or not int(given):
        raise SettingsError(f"OTEL_METRIC_EXPORT_INTERVAL must be a number of milliseconds above 0, not {given!r}.")
    return int(given) / 1000
