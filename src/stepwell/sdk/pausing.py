"""How long to wait before the platform is asked again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from stepwell.wire.retry_after import parse_retry_after

if TYPE_CHECKING:
    import httpx2

MAX_S = 30.0


def pause_s(own_s: float, answer: httpx2.Response | None) -> float:
    """Seconds: ``own_s``, or what the answer asks for (``Retry-After``) where that is more, ``MAX_S`` at most."""
    asked = (
        None if answer is None else parse_retry_after(answer.headers.get("retry-after", ""), time.time_ns() // 10**6)
    )
    return max(own_s, min((asked or 0) / 1000, MAX_S))
