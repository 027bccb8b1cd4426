"""Times and durations as the command line writes them. Pure."""

from datetime import UTC, datetime


def parse_instant(text: object) -> float | None:
    """Seconds since the epoch of an RFC 3339 text."""
    if not isinstance(text, str):
        return None
    return datetime.fromisoformat(text).timestamp()


def span(start: object, end: object) -> float | None:
    """Milliseconds between two RFC 3339 texts, None where either is missing."""
    first, last = parse_instant(start), parse_instant(end)
    return None if first is None or last is None else (last - first) * 1000


def duration(millis: float | None) -> str:
    """A duration for people, three figures: ``4 ms``, ``1.24 s``, ``2 m 05 s``, ``3 h 10 m``."""
    if millis is None:
        return ""
    if millis < 1000:
        return f"{millis:.0f} ms"
    seconds = millis / 1000
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds < 59.95 else "1 m 00 s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} m"


def local_time(text: object) -> str:
    """An RFC 3339 text in the time zone of whoever reads it: ``2026-11-02 14:03:05``."""
    seconds = parse_instant(text)
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
