"""What an upstream or an app says about when to come back: Retry-After and its relatives, read to a delay."""

import re

from stepwell.wire.dates import http_date_ms, rfc3339_ms

MAX_RETRY_AFTER_MS = 24 * 3600 * 1000

_NUMBER = re.compile(r"\d{1,18}(?:\.\d{1,9})?")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|h|m|s|d))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s|d)")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_EPOCH_S = 1_000_000_000
"""A number this large is a point in time (in seconds; a thousand times this: in milliseconds), not a delay."""


def parse_retry_after(text: str, now_ms: int, at_least_ms: int = 0) -> int | None:
    """The delay in ms that a ``Retry-After`` asks for (RFC 9110, 10.2.3): seconds, an HTTP date or an RFC 3339 instant.

    Clipped to ``at_least_ms`` .. 24 h; a date in the past comes to ``at_least_ms``. None for garbage, which callers
    ignore.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return _clip(float(text) * 1000, at_least_ms)
    moment = http_date_ms(text, now_ms)
    if moment is None:
        moment = rfc3339_ms(text)
    return None if moment is None else _clip(moment - now_ms, at_least_ms)


def parse_millis(text: str) -> int | None:
    """The delay of a ``retry-after-ms`` header, clipped to 24 h; None for garbage."""
    text = text.strip()
    return _clip(float(text), 0) if _NUMBER.fullmatch(text) else None


def parse_reset(text: str, now_ms: int) -> int | None:
    """The delay of an ``x-ratelimit-reset`` header: epoch seconds, seconds, ``6m0s``, or a date. None for garbage."""
    text = text.strip()
    if _DURATION.fullmatch(text):
        return _clip(sum(float(n) * _UNIT_MS[unit] for n, unit in _PART.findall(text)), 0)
    if not _NUMBER.fullmatch(text):
        return parse_retry_after(text, now_ms)
    number = float(text)
    if number >= _EPOCH_S * 1000:
        return _clip(number - now_ms, 0)
    if number >= _EPOCH_S:
        return _clip(number * 1000 - now_ms, 0)
    return _clip(number * 1000, 0)


def _clip(delay: float, at_least_ms: int) -> int:
    return int(max(at_least_ms, min(delay, MAX_RETRY_AFTER_MS)))
