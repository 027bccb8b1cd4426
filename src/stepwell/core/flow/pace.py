"""Pace: the generic cell rate algorithm, GCRA (ITU-T I.371; protocol 5.10). Pure; times in ms, the state in microseconds.

``tat`` (theoretical arrival time) is when the next item would come at exactly the given rate. An item may come before that by
the tolerance: ``burst`` intervals, and a little for wake-ups that are late. So in any window of w ms at most
``burst + 1 + (w + SLACK_MS) / interval`` items pass.
"""

SLACK_MS = 20
"""A wake-up this late costs no rate."""


def interval_us(limit: int, period_ms: int) -> int:
    """Microseconds between two items, rounded up: never above the rate."""
    return max(1, -(-period_ms * 1000 // max(1, limit)))


def opens_at(tat: int, interval: int, burst: int) -> int:
    """The first ms at which an item may pass."""
    return -(-(tat - burst * interval - SLACK_MS * 1000) // 1000)


def passed(tat: int, interval: int, now: int) -> int:
    """The new ``tat`` after an item has passed at ``now`` (ms)."""
    return max(tat, now * 1000) + interval


def given_back(tat: int, interval: int, passed_at: int) -> int:
    """The ``tat`` after the item that passed at ``passed_at`` (ms) did nothing. Once others have passed after it, that
    changes nothing: they were counted from its time on, and taking it away would let one too many pass."""
    before = tat - interval
    return before if before <= (passed_at + SLACK_MS) * 1000 else tat
