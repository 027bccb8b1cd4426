"""What limits promise, over stretches and moments of time that somebody else has counted. Seconds."""

from collections.abc import Iterable, Sequence

LATE_S = 2.0
"""So much later than it was let go something may be seen, on a busy machine: those after it then seem too early."""


def most_at_once(stretches: Iterable[tuple[float, float]]) -> int:
    """How many there were at the same time at most; one that ends as another begins is over."""
    changes = sorted(change for began, ended in stretches for change in ((began, 1), (ended, -1)))
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def too_many(times: Sequence[float], per_second: float, burst: int, late_s: float = LATE_S) -> int:
    """By how many the worst window of time exceeds ``burst + rate × window``, what comes late granted; 0 for none."""
    moments = sorted(times)
    return max(
        (
            int(last - first + 1 - (burst + (moments[last] - moments[first] + late_s) * per_second))
            for first in range(len(moments))
            for last in range(first, len(moments))
        ),
        default=0,
    )
