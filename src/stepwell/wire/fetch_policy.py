"""The request headers with which any SDK steers the platform (durable-http, Policy); they are never sent on."""

import re
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from stepwell.wire.constants import MAX_RETRIES, MAX_WAIT_MS
from stepwell.wire.durations import parse_duration
from stepwell.wire.fetch import FetchPolicy, Header, Timeouts
from stepwell.wire.sizes import parse_size

PREFIX = "stepwell-"
MAX_ATTEMPTS = MAX_RETRIES + 1

_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,6})?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_YES = frozenset({"true", "1", "yes", "on", ""})
_MAX_BODY = 1 << 50
_NO_KEYS = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers that frame or lead a request: no key may go into one of them."""
_NO = frozenset({"false", "0", "no", "off", "none"})


class BadPolicy(ValueError):
    """A policy header that can not be understood; the message names it and says what it takes."""


def split_policy(headers: Iterable[Header], policy: FetchPolicy) -> tuple[tuple[Header, ...], FetchPolicy]:
    """Take the ``stepwell-*`` headers out; the headers left, and ``policy`` with what they say on top.

    Raises :class:`BadPolicy` for an unknown one too, so that a misspelt ``stepwell-at-most-once`` does not pass in
    silence.
    """
    kept: list[Header] = []
    for name, value in headers:
        lower = name.lower()
        if not lower.startswith(PREFIX):
            kept.append((name, value))
            continue
        reader = _READERS.get(lower)
        if reader is None:
            raise BadPolicy(f"there is no policy header {lower!r}; there are {', '.join(sorted(_READERS))}")
        try:
            policy = reader(policy, value.strip())
        except ValueError as error:
            raise BadPolicy(f"the header {lower!r} can not be {value[:60]!r}: {error}") from None
    return tuple(kept), policy


_USUAL = FetchPolicy()


def check_policy(policy: FetchPolicy) -> None:
    """Raise :class:`BadPolicy` for values outside their range; our own SDK sends a policy as data."""
    if policy == _USUAL:
        return
    if policy.attempts is not None and not 1 <= policy.attempts <= MAX_ATTEMPTS:
        raise BadPolicy(f"a request takes 1 to {MAX_ATTEMPTS} attempts, not {policy.attempts}")
    if policy.deadline_ms is not None and not 0 < policy.deadline_ms <= MAX_WAIT_MS:
        raise BadPolicy("the deadline of a request must lie between now and a year from now")
    if not 0 <= policy.min_delay_ms <= policy.max_delay_ms <= MAX_WAIT_MS:
        raise BadPolicy("the delays of a request must be ordered, 0 <= min_delay <= max_delay, and at most a year")
    if _CONTROL.search(policy.idempotency_key or "") or not _NAME.fullmatch(policy.idempotency_header):
        raise BadPolicy("the idempotency key must be one line of text, and its header a valid header name")
    if policy.idempotency_header.lower() in _NO_KEYS:
        raise BadPolicy(
            f"the idempotency key can not go into the header {policy.idempotency_header!r}, which has another use"
        )
    if any(not 100 <= status <= 999 for status in policy.retry_on or ()):
        raise BadPolicy("the statuses that are tried again must be numbers from 100 to 999")
    if policy.poll and policy.callback:
        raise BadPolicy("a request is polled for, or called back, not both")
    if policy.max_body is not None and not 0 < policy.max_body <= _MAX_BODY:
        raise BadPolicy("the largest body of a request must be at least one byte, and at most 1 PiB")
    limits = policy.timeouts
    if any(value is not None and not value > 0 for value in (limits.connect, limits.read, limits.write, limits.pool)):
        raise BadPolicy("the timeouts of a request must be longer than 0 seconds")


def _millis(text: str) -> int:
    millis = round(float(text) * 1000) if _SECONDS.fullmatch(text) else parse_duration(text)
    if not 0 < millis <= MAX_WAIT_MS:
        raise ValueError("it takes seconds or a duration like 30s or 5m, longer than 0")
    return millis


def _flag(text: str) -> bool:
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise ValueError("it takes true or false")


def _timeout(policy: FetchPolicy, text: str) -> FetchPolicy:
    seconds = _millis(text) / 1000
    return replace(policy, timeouts=Timeouts(connect=seconds, read=seconds, write=seconds, pool=seconds))


def _retries(policy: FetchPolicy, text: str) -> FetchPolicy:
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_RETRIES):
        raise ValueError(f"it takes a whole number from 0 to {MAX_RETRIES}")
    return replace(policy, attempts=int(text) + 1)


def _max_body(policy: FetchPolicy, text: str) -> FetchPolicy:
    return replace(policy, max_body=parse_size(text))


def _retry_on(policy: FetchPolicy, text: str) -> FetchPolicy:
    found: set[int] = set()
    for part in text.replace(",", " ").split():
        found.update(_statuses(part.lower()))
    return replace(policy, retry_on=tuple(sorted(found)))


def _statuses(part: str) -> Iterable[int]:
    if re.fullmatch(r"[1-5]xx", part):
        first = int(part[0]) * 100
        return range(first, first + 100)
    if re.fullmatch(r"[1-5][0-9][0-9]", part):
        return (int(part),)
    raise ValueError("it takes statuses like 429, 503 or 5xx, separated by commas")


def _key(policy: FetchPolicy, text: str) -> FetchPolicy:
    return replace(policy, idempotency_key="" if text.lower() in _NO else text)


_READERS: dict[str, Callable[[FetchPolicy, str], FetchPolicy]] = {
    "stepwell-timeout": _timeout,
    "stepwell-deadline": lambda policy, text: replace(policy, deadline_ms=_millis(text)),
    "stepwell-retries": _retries,
    "stepwell-retry-on": _retry_on,
    "stepwell-idempotency-key": _key,
    "stepwell-at-most-once": lambda policy, text: replace(policy, at_most_once=_flag(text)),
    "stepwell-poll": lambda policy, text: replace(policy, poll=_flag(text)),
    "stepwell-callback": lambda policy, text: replace(policy, callback=_flag(text)),
    "stepwell-max-body": _max_body,
    "stepwell-follow-redirects": lambda policy, text: replace(policy, follow_redirects=_flag(text)),
}
