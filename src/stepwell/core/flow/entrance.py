"""Which limits an event meets on its way to a run of a function: bucket by bucket, its keys evaluated (protocol 5.10)."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from stepwell.core.cel import ExpressionError
from stepwell.core.cel import compile as compile_expression
from stepwell.core.flow.keys import key_hash, key_value
from stepwell.core.triggers import EVENT_ONLY
from stepwell.wire.function_config import Batch, Debounce, FunctionConfig, RateLimit, SingletonMode
from stepwell.wire.jsons import decode

_DAY_MS: Final = 24 * 3600 * 1000


class Entrance(msgspec.Struct, frozen=True):
    """Bucket and rule of each limit. A ``batch`` comes alone: what fires has met the rest when its events came in."""

    rate: tuple[str, RateLimit] | None = None
    debounce: tuple[str, Debounce] | None = None
    batch: tuple[str, Batch] | None = None
    single: tuple[str, SingletonMode] | None = None
    once: bool = False
    """Whether ``rate`` is the function's idempotency."""


OPEN: Final = Entrance()
"""No limit."""


def entrance(function: FunctionConfig, event: bytes, now_ms: int | None = None) -> Entrance:
    """What an event (JSON) meets that came in at ``now_ms``.

    A rate limit or singleton whose key is ``false`` does not hold for it.
    """
    if function.batch is None and function.debounce is None and function.singleton is None and not _rates(function):
        return OPEN
    value: Mapping[str, Any] = decode(event)
    if function.batch is not None and _takes(function.batch, value, now_ms):
        return Entrance(batch=(_bucket("batch", function.id, function.batch.key, value) or "", function.batch))
    return Entrance(
        rate=_rate(function, value),
        debounce=_debounce(function, value),
        single=_single(function, value),
        once=function.idempotency is not None,
    )


def entrance_of_gathered(function: FunctionConfig, event: bytes) -> Entrance:
    """What a run meets that begins after it has waited for more events: its singleton alone."""
    return OPEN if function.singleton is None else Entrance(single=_single(function, decode(event)))


def _rates(function: FunctionConfig) -> RateLimit | None:
    """``idempotency`` is a rate limit, and takes the place of one (protocol 1.3)."""
    if function.idempotency is not None:
        return RateLimit(limit=1, period_ms=_DAY_MS, key=function.idempotency)
    return function.rate_limit


def _takes(batch: Batch, event: Mapping[str, Any], now_ms: int | None) -> bool:
    """Whether the event is one for the batch, rather than for a run of its own."""
    if batch.condition is None:
        return True
    try:
        return compile_expression(batch.condition, EVENT_ONLY).condition({"event": event}, now_ms=now_ms)
    except ExpressionError:
        return False


def _rate(function: FunctionConfig, event: Mapping[str, Any]) -> tuple[str, RateLimit] | None:
    rule = _rates(function)
    bucket = rule and _bucket("rate", function.id, rule.key, event, unless_false=True)
    return (bucket, rule) if bucket and rule else None


def _debounce(function: FunctionConfig, event: Mapping[str, Any]) -> tuple[str, Debounce] | None:
    rule = function.debounce
    bucket = rule and _bucket("debounce", function.id, rule.key, event)
    return (bucket, rule) if bucket and rule else None


def _single(function: FunctionConfig, event: Mapping[str, Any]) -> tuple[str, SingletonMode] | None:
    rule = function.singleton
    bucket = rule and _bucket("singleton", function.id, rule.key, event, unless_false=True)
    return (bucket, rule.mode) if bucket and rule else None


def _bucket(
    kind: str, slug: str, key: str | None, event: Mapping[str, Any], *, unless_false: bool = False
) -> str | None:
    """``<kind>:<slug>:<key hash>``; no hash without a key; None where the key says that the limit does not hold."""
    if key is None:
        return f"{kind}:{slug}:"
    value = key_value(key, event)
    if unless_false and value is False:
        return None
    return f"{kind}:{slug}:{key_hash([key, value])}"
