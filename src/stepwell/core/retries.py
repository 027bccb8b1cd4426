"""When a failed call is tried again (protocol 5.4)."""

from stepwell.core.inputs import Env
from stepwell.wire.retry_after import parse_retry_after

_TABLE_S = (15, 30, 60, 120, 300, 600, 1200, 2400, 3600, 7200)
_JITTER_MS = 30_000
_MIN_AFTER_MS = 1_000


def call_delay(failed: int, retry_after: str | None, env: Env) -> int:
    """Milliseconds until the attempt after the ``failed``-th (from 0).

    The app's Retry-After wins (1 s to 24 h); else the platform's flat interval; else the protocol's table with up to 30 s of
    jitter on top.
    """
    if retry_after:
        wanted = parse_retry_after(retry_after, env.now)
        if wanted is not None:
            return max(_MIN_AFTER_MS, wanted)
    if env.flat_retry_ms is not None:
        return env.flat_retry_ms
    base = _TABLE_S[min(failed, len(_TABLE_S) - 1)] * 1000
    return base + int(env.jitter * _JITTER_MS)
