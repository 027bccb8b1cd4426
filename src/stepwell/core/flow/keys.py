"""The buckets that a run's items count against: concurrency entries with their keys' values (protocol 5.10)."""

import hashlib
from collections.abc import Mapping
from typing import Any

from stepwell.core.cel import ExpressionError
from stepwell.core.cel import compile as compile_expression
from stepwell.core.cel.values import text
from stepwell.core.model import Limit, Pace
from stepwell.core.triggers import EVENT_ONLY
from stepwell.wire.functions import Concurrency, FunctionConfig, Scope, Throttle
from stepwell.wire.jsons import decode
from stepwell.wire.signing import canonical


def limits_for(function: FunctionConfig, event: bytes | Mapping[str, Any], env: str = "") -> tuple[Limit, ...]:
    """The limits of a run that ``event`` starts, evaluated once, when the run is made.

    Buckets are ``fn:<slug>:<key hash>`` (no hash without a key), ``env:<env>:<key hash>`` and ``account:<key hash>``.
    Of two entries that come to the same bucket the lower limit holds. ``event`` as JSON text is read only for a key.
    """
    found: dict[str, int] = {}
    for entry in function.concurrency:
        if entry.key is not None and isinstance(event, bytes):
            event = decode(event)
        bucket = _bucket(function.id, env, entry, event)
        found[bucket] = min(entry.limit, found.get(bucket, entry.limit))
    return tuple(Limit(bucket, limit) for bucket, limit in found.items())


def paces_for(function: FunctionConfig, event: bytes | Mapping[str, Any]) -> tuple[Pace, ...]:
    """The paces of the requests of a run that ``event`` starts: the function's ``fetch_throttle``, its key evaluated once."""
    found = function.fetch_throttle
    if found is None:
        return ()
    bucket = f"fetch:{function.id}:"
    if found.key is not None:
        bucket += key_hash(key_value(found.key, decode(event) if isinstance(event, bytes) else event))
    return (pace_of(bucket, found),)


def pace_of(bucket: str, rule: Throttle) -> Pace:
    """A throttle's burst says how many may go at once, not how many more; 1, the SDKs' default, is none."""
    return Pace(bucket, rule.limit, rule.period_ms, max(0, rule.burst - 1))


def key_value(expression: str, event: Any, now_ms: int | None = None) -> Any:
    """The value of a key for an event. What is missing or can not be computed is null, a key like any other.

    Keys know no time (``now_ms``): each event would have a key of its own. Priorities do.
    """
    try:
        return compile_expression(expression, EVENT_ONLY).evaluate({"event": event}, now_ms=now_ms)
    except ExpressionError:
        return None


def key_hash(value: Any) -> str:
    """16 hex digits that stand for a key's value: numbers by value, strings apart from them, maps in any order."""
    try:
        shown = canonical(value)
    except ValueError:
        shown = _as_text(value)
    return hashlib.sha256(shown).hexdigest()[:16]


def _as_text(value: Any) -> bytes:
    """For what JSON has no form for: timestamps, durations, bytes."""
    try:
        return text(value).encode("utf-8", "surrogatepass")
    except ExpressionError:
        return repr(value).encode("utf-8", "surrogatepass")


def _bucket(slug: str, env: str, entry: Concurrency, event: Any) -> str:
    """Two keys of one function never share a bucket; between functions, the value alone decides."""
    if entry.scope is Scope.FN:
        if entry.key is None:
            return f"fn:{slug}:"
        return f"fn:{slug}:{key_hash([entry.key, key_value(entry.key, event)])}"
    shared = key_hash(key_value(entry.key or "null", event))
    return f"env:{env}:{shared}" if entry.scope is Scope.ENV else f"account:{shared}"
