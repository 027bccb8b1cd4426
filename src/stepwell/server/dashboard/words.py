"""Times and durations as the pages write them. Pure."""

from datetime import UTC, datetime

from stepwell.wire.dates import rfc3339

_UNITS = ((86_400_000, "d", 3_600_000, "h"), (3_600_000, "h", 60_000, "m"), (60_000, "m", 1_000, "s"))


def duration(millis: float | None) -> str:
    """``840 ms``, ``3.2 s``, ``4m 10s``, ``2h``, ``3d 1h``; a dash for None."""
    if millis is None:
        return "–"
    if millis < 1_000:
        return f"{millis:.1f} ms" if 0 < millis < 10 and millis != int(millis) else f"{millis:.0f} ms"
    if millis < 60_000:
        return f"{millis / 1_000:.1f} s"
    for unit, name, smaller, its_name in _UNITS:
        if millis >= unit:
            rest = int(millis % unit // smaller)
            return f"{int(millis // unit)}{name}" + (f" {rest}{its_name}" if rest else "")
    return ""


def iso(millis: int | None) -> str:
    """RFC 3339 in UTC with milliseconds; empty for None."""
    return "" if millis is None else rfc3339(_moment(millis))


def clock(millis: int | None) -> str:
    """``26 Nov 15:04:05`` in UTC; the page's script writes it in the reader's own zone."""
    return "–" if millis is None else _moment(millis).strftime("%-d %b %H:%M:%S")


def size(count: int) -> str:
    """``312 B``, ``4.1 KiB``, ``2.0 MiB``."""
    if count < 1024:
        return f"{count} B"
    if count < 1024 * 1024:
        return f"{count / 1024:.1f} KiB"
    return f"{count / 1024 / 1024:.1f} MiB"


_KINDS = {
    "Step": "run",
    "StepRun": "run",
    "StepError": "run",
    "StepFailed": "run",
    "StepPlanned": "run",
    "Gateway": "request",
    "AIGateway": "question to a model",
    "Sleep": "sleep",
    "WaitForEvent": "wait for an event",
    "WaitForSignal": "wait for a signal",
    "InvokeFunction": "call of a function",
}


def kind(op: str) -> str:
    """What a step does, by the protocol's name of it; one that is not known as it is."""
    return _KINDS.get(op, op)


def capitalised(text: str) -> str:
    """With a capital in front; the rest, names among it, as it is."""
    return text[:1].upper() + text[1:]


def _moment(millis: int) -> datetime:
    return datetime.fromtimestamp(min(max(millis, 0), 253_402_300_799_000) / 1000, UTC)
