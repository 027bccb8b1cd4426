"""The ``timeout`` of a durable request, as httpx has it: seconds for each phase of one attempt."""

from __future__ import annotations

import math
from typing import Any

from stepwell.wire.fetch import Timeouts

NO_TIMEOUT_S = 7200.0


def timeouts(given: Any) -> Timeouts:
    """Of seconds for all phases, or an ``httpx2.Timeout``; None means no time-out. Raises ``ValueError``."""
    import httpx2

    phases = given if hasattr(given, "connect") else httpx2.Timeout(given)
    return Timeouts(*map(_seconds, (phases.connect, phases.read, phases.write, phases.pool)))


def of_request(request: Any) -> Timeouts | None:
    """Those that a client gave to the request that it built."""
    phases: dict[str, Any] | None = getattr(request, "extensions", {}).get("timeout")
    return None if phases is None else Timeouts(**{name: _seconds(given) for name, given in phases.items()})


def _seconds(given: Any) -> float:
    try:
        seconds = math.inf if given is None else float(given)
    except (TypeError, ValueError):
        seconds = math.nan
    if not seconds > -math.inf:
        raise ValueError(f"timeout is a number of seconds or an httpx2.Timeout, and {given!r} is neither")
    return NO_TIMEOUT_S if seconds == math.inf else seconds
