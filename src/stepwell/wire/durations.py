"""Durations as the protocol writes them: ``90s``, ``1h30m``, ``1d2h`` (protocol section 0). In integer milliseconds."""

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3_600 * 1_000_000_000,
    "d": 86_400 * 1_000_000_000,
    "w": 604_800 * 1_000_000_000,
}
_WHOLE: Final = [(unit, _UNITS_NS[unit] // 1_000_000) for unit in ("w", "d", "h", "m", "s", "ms")]
_PART: Final = re.compile(r"(\d+)(?:\.(\d+))?(ns|us|µs|μs|ms|s|m|h|d|w)", re.ASCII)
_MAX_TEXT: Final = 100
_MIN_DATE_TEXT: Final = 10
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


def parse_duration(text: str) -> int:
    """Milliseconds of a duration: concatenated ``<number><unit>``, units ``ns us ms s m h d w``.

    ``""`` and ``"0"`` are 0. A rest of a millisecond rounds up: a short wait never becomes none. Raises ``ValueError``.
    """
    if text in ("", "0"):
        return 0
    total = position = 0
    while position < len(text) <= _MAX_TEXT:
        part = _PART.match(text, position)
        if part is None:
            break
        whole, fraction, unit = part.group(1), part.group(2) or "", part.group(3)
        total += int(whole + fraction) * _UNITS_NS[unit] * 1_000 // 10 ** len(fraction)
        position = part.end()
    if position != len(text):
        raise ValueError(f"{text[:_MAX_TEXT]!r} is not a duration: write numbers with units, such as '90s' or '1h30m'")
    return -(-total // 1_000_000_000)


def parse_duration_or_date(text: str, now_ms: int) -> int:
    """Milliseconds from ``now_ms`` on, of a duration or an RFC 3339 instant (protocol section 0).

    What lies in the past is 0. A text of ten characters or more that reads as a date is one. Raises ``ValueError``.
    """
    if len(text) >= _MIN_DATE_TEXT:
        instant = _instant(text)
        if instant is not None:
            return max(0, instant - now_ms)
    if text.startswith("-"):
        parse_duration(text[1:])
        return 0
    return parse_duration(text)


def format_duration(ms: int) -> str:
    """The protocol's form of a duration: in the largest unit that has whole ones, as ``90s``; nothing or less is ``0s``."""
    if ms <= 0:
        return "0s"
    unit, size = next((unit, size) for unit, size in _WHOLE if ms % size == 0)
    return f"{ms // size}{unit}"


def to_ms(value: float | timedelta | str) -> int:
    """Milliseconds of what a user may give: seconds as a number, a ``timedelta``, or a text such as ``"1h30m"``.

    Raises ``ValueError`` for negative and endless ones and texts that are no duration, ``TypeError`` for other types.
    """
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        if value < timedelta():
            raise ValueError(f"a duration can not be negative, and {value} is")
        return -(-value // _MS)
    if isinstance(value, bool) or not isinstance(value, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"a duration is seconds, a timedelta or a text such as '90s', not {type(value).__name__}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"a duration is a number of seconds from 0 on, and {value} is not")
    return value * 1000 if isinstance(value, int) else math.ceil(round(value * 1000, 6))


def _instant(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MS
