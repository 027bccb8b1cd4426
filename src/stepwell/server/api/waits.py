"""What a run waits for, in words. Pure."""

from collections.abc import Sequence

from stepwell.core.flow.gates import Reason, Shut
from stepwell.core.model import Item, WorkKind
from stepwell.server.api.render import Json, instant

_SHARED = {"env": "the environment", "account": "the account"}
_LIMITS = {
    Reason.CONCURRENCY: "concurrency limit of {}",
    Reason.RATE: "rate limit of {}",
    Reason.SLOW_DOWN: "slow-down of {} (it asked for fewer requests)",
    Reason.BREAKER: "circuit breaker of {} (too many of its answers were failures)",
}


def render_wait(shut: Shut) -> Json:
    """``for``: what holds the work back; ``until``: when that ends, null where it depends on other work."""
    return {"for": _words(shut), "until": instant(shut.until)}


def render_gathering(items: Sequence[Item]) -> Json:
    """The same of a run that has not begun and waits for more events (debounce, batch)."""
    due = next((item.due_at for item in items if item.kind is WorkKind.START), None)
    return {"for": "next events of its debounce or batch", "until": instant(due)}


def _words(shut: Shut) -> str:
    bucket = shut.by.bucket
    if bucket.startswith("throttle:"):
        return f"throttle of {_owner(bucket)}"
    return _LIMITS[shut.reason].format(_owner(bucket))


def _owner(bucket: str) -> str:
    kind, _, name = bucket.partition(":")
    if kind == "host":
        return f"host {name}"
    if kind == "fetch":
        return f"the requests of function {name.rpartition(':')[0]}"
    if kind == "run":
        return f"the runs of function {name.rpartition(':')[0]}"
    if kind in ("fn", "throttle"):
        return f"function {name.rpartition(':')[0]}"
    return _SHARED.get(kind, bucket)
