"""The shared slow-down of a host that said 429 or 503 and when: all wait until then, then the pace grows back. Pure.

The law is that of TCP: a pace that nobody knows begins low and doubles every second; one that is known, from settings or
because the host complained about it, is halved, is back after ten seconds of even growth, and then doubles every half minute.
Complaints about requests that were under way when the host complained first are the same complaint.
"""

import msgspec
from msgspec.structs import replace

FIRST_RATE = 4.0
"""Requests a second after the first wait, when no rate is configured."""
LEAST_RATE = 0.1
CEILING = 1_000.0
"""Requests a second at which a host without a configured rate has recovered."""
_SECONDS_BACK = 10
"""From half of a pace back to all of it."""
_DOUBLING_S = 30
_BEGINS_MS = 100
"""So long after it was let through a request may begin."""


class SlowDown(msgspec.Struct, frozen=True, omit_defaults=True):
    """A host's slow-down: nothing before ``until`` (ms), then ``rate`` a second, growing by ``growth`` a second.

    ``growth`` 0 means that nothing is known, and doubling each second.
    ``hit_at``: when the host complained. ``tat``: as in GCRA, microseconds. ``unasked``: it did not complain, its breaker has
    just closed.
    """

    hit_at: int
    until: int
    rate: float
    growth: float
    ceiling: float
    tat: int
    unasked: bool = False


def begin(until: int, now: int, known: float | None) -> SlowDown:
    """The first complaint. ``known`` is the configured rate in requests a second."""
    if known is None:
        return SlowDown(now, until, FIRST_RATE, 0.0, CEILING, until * 1000)
    low = max(known / 2, LEAST_RATE)
    return SlowDown(now, until, low, known / 2 / _SECONDS_BACK, max(known, low), until * 1000)


def again(slow: SlowDown, until: int, started_at: int, now: int) -> SlowDown:
    """Another complaint, about a request that was sent at ``started_at``.

    What was sent before ``slow.until`` had been let through before the host complained, or before that was recorded.
    """
    let_through = max(slow.hit_at + _BEGINS_MS, slow.until - 1)
    until = max(slow.until, until)
    if started_at <= let_through:
        return replace(slow, until=until, tat=max(slow.tat, until * 1000), unasked=False)
    pace = rate_at(slow, now)
    low = max(pace / 2, LEAST_RATE)
    return SlowDown(now, until, low, pace / 2 / _SECONDS_BACK, slow.ceiling, until * 1000)


def rate_at(slow: SlowDown, now: int) -> float:
    """Requests a second at ``now``; never less than at an earlier time."""
    seconds = max(0, now - slow.until) / 1000
    if not slow.growth:
        return min(slow.ceiling, slow.rate * 2 ** min(seconds, 30.0))
    back = slow.rate + slow.growth * min(seconds, _SECONDS_BACK)
    return min(slow.ceiling, back * 2 ** (min(max(0.0, seconds - _SECONDS_BACK), 1800.0) / _DOUBLING_S))


def recovered(slow: SlowDown, now: int) -> bool:
    """Whether nothing is left of it."""
    return now >= slow.until and rate_at(slow, now) >= slow.ceiling
