"""What holds an item back, in words for people. Pure."""

from stepwell.core.model import Attempt, Reason

_SHARED = {"env": "the environment", "account": "the account"}
_LIMITS = {
    Reason.CONCURRENCY: "concurrency limit of {}",
    Reason.RATE: "rate limit of {}",
    Reason.SLOW_DOWN: "slow-down of {} (it asked for fewer requests)",
    Reason.BREAKER: "circuit breaker of {} (too many of its answers were failures)",
}


def in_words(bucket: str, reason: Reason) -> str:
    """As in ``rate limit of host api.example.com``; without the key of a limit, which may be a user's."""
    if bucket.startswith("throttle:"):
        return f"throttle of {_owner(bucket)}"
    return _LIMITS[reason].format(_owner(bucket))


def passed_words(attempt: Attempt) -> list[str]:
    """What an attempt had been held back by before it began."""
    return [in_words(one.bucket, one.reason) for one in attempt.passed]


def passed(attempt: Attempt) -> str:
    """The same as one text."""
    return " and the ".join(passed_words(attempt))


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
