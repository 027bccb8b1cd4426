"""The shared slow-down of a host that said 429 or 503 and when: all wait until then, then the pace grows back. Pure.

The law is that of TCP: a pace that nobody knows begins low and doubles every second; one that is known, from settings or
because the host complained about it, is halved and then grows by the same amount every second. Complaints about requests
that were under way when the host complained first are the same complaint.
"""

import msgspec
from msgspec.structs import replace

FIRST_RATE = 4.0
"""Requests a second after the first wait, when no rate is configured."""
LEAST_RATE = 0.1
CEILING = 1_000.0
"""Requests a second at which a host without a configured rate has recovered."""
_STEPS_BACK = 10
"""Seconds from half of a pace back to all of it."""


class SlowDown(msgspec.Struct, frozen=True, omit_defaults=True):
    """A host's slow-down: nothing before ``until`` (ms), then ``rate`` a second, growing by ``growth`` a second.

    ``growth`` 0 means doubling each second. ``hit_at``: when the host complained. ``tat``: as in GCRA, microseconds.
    """

    hit_at: int
    until: int
    rate: float
    growth: float
    ceiling: float
    tat: int


def begin(until: int, now: int, known: float | None) -> SlowDown:
    """The first complaint. ``known`` is the configured rate in requests a second."""
    if known is None:
        return SlowDown(now, until, FIRST_RATE, 0.0, CEILING, until * 1000)
    low = max(known / 2, LEAST_RATE)
    return SlowDown(now, until, low, known / 2 / _STEPS_BACK, max(known, low), until * 1000)


def again(slow: SlowDown, until: int, started_at: int, now: int) -> SlowDown:
    """Another complaint, about a request that was sent at ``started_at``."""
    until = max(slow.until, until)
    if started_at <= slow.hit_at:
        return replace(slow, until=until, tat=max(slow.tat, until * 1000))
    pace = rate_at(slow, now)
    low = max(pace / 2, LEAST_RATE)
    return SlowDown(now, until, low, pace / 2 / _STEPS_BACK, slow.ceiling, until * 1000)


def rate_at(slow: SlowDown, now: int) -> float:
    """Requests a second at ``now``; never less than at an earlier time."""
    seconds = max(0, now - slow.until) / 1000
    grown = slow.rate + slow.growth * seconds if slow.growth else slow.rate * 2 ** min(seconds, 30.0)
    return min(slow.ceiling, grown)


def recovered(slow: SlowDown, now: int) -> bool:
    """Whether nothing is left of it."""
    return now >= slow.until and rate_at(slow, now) >= slow.ceiling
