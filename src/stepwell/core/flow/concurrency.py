"""Concurrency: at most so many claimed items in a bucket (protocol 5.10). Stores call this inside the claiming transaction."""

from collections.abc import Callable, Sequence

from stepwell.core.model import Limit


def blocked_by(limits: Sequence[Limit], used: Callable[[str], int]) -> str | None:
    """The first bucket that has no room for one more item, or None when all have. ``used`` counts the claimed items."""
    for limit in limits:
        if used(limit.bucket) >= limit.limit:
            return limit.bucket
    return None


def room(limit: int, used: int) -> int:
    """How many more items a bucket admits."""
    return max(0, limit - used)
