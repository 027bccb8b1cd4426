"""Which observers the settings ask for."""

import os
from collections.abc import Callable

from stepwell.server.settings import Settings, SettingsError
from stepwell.server.telemetry.logs import RunLog
from stepwell.server.telemetry.observers import Observer


def traced(settings: Settings) -> bool:
    """Whether spans are made."""
    return settings.otlp_endpoint is not None and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


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
