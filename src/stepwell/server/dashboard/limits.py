"""The limits of a function in words. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from stepwell.core.flow.keys import key_value
from stepwell.core.flow.starts import rules_for
from stepwell.server.dashboard.words import duration
from stepwell.wire.function_config import FunctionConfig, RateLimit, Throttle
from stepwell.wire.jsons import decode
from stepwell.wire.masks import mask_text
from stepwell.wire.signing import canonical

_MOST = 120
"""Characters of a key's value."""


def limits_of(function: FunctionConfig) -> list[str]:
    """One short line for each limit that a function has."""
    return [*_slots(function), *_paces(function), *_starts(function)]


def key_of(function: FunctionConfig, event: bytes, bucket: str) -> str | None:
    """``event.data.user = 7``: the key that put an event (JSON) in a bucket of the function; None where there is none."""
    bare = replace(function, concurrency=(), run_concurrency=(), throttle=None, fetch_throttle=None, priority=None)
    alone = [
        *((one.key, replace(bare, concurrency=(one,))) for one in function.concurrency),
        *((one.key, replace(bare, run_concurrency=(one,))) for one in function.run_concurrency),
        *((one.key, replace(bare, throttle=one)) for one in (function.throttle,) if one is not None),
        *((one.key, replace(bare, fetch_throttle=one)) for one in (function.fetch_throttle,) if one is not None),
    ]
    value: Mapping[str, Any] = decode(event)
    for key, config in alone:
        rules = rules_for(config, value)
        met = {one.bucket for one in (*rules.limits, *rules.holds, *rules.paces, *rules.throttle)}
        if key is not None and bucket in met:
            return mask_text(f"{key} = {_shown(key_value(key, value))}")
    return None


def _shown(value: object) -> str:
    try:
        return canonical(value).decode()[:_MOST]
    except ValueError:  # JSON has no form for it
        return str(value)[:_MOST]


def _slots(function: FunctionConfig) -> Iterator[str]:
    for what, entries in (("steps", function.concurrency), ("runs", function.run_concurrency)):
        for entry in entries:
            where = "" if entry.scope == "fn" else f" in the {entry.scope.value}"
            yield f"{entry.limit} {what if entry.limit != 1 else what[:-1]} at once{_per(entry.key)}{where}"


def _paces(function: FunctionConfig) -> Iterator[str]:
    if function.throttle is not None:
        yield f"throttle {_rate(function.throttle)}"
    if function.fetch_throttle is not None:
        yield f"requests {_rate(function.fetch_throttle)}"
    if function.rate_limit is not None:
        yield f"rate limit {_rate(function.rate_limit)}"


def _starts(function: FunctionConfig) -> Iterator[str]:
    if function.debounce is not None:
        yield f"debounce {duration(function.debounce.period_ms)}{_per(function.debounce.key)}"
    if function.batch is not None:
        batch = function.batch
        yield f"batches of {batch.max_size} or after {duration(batch.timeout_ms)}{_per(batch.key)}"
    if function.singleton is not None:
        yield f"singleton ({function.singleton.mode.value}){_per(function.singleton.key)}"
    if function.priority is not None:
        yield f"priority {function.priority}"
    if function.idempotency is not None:
        yield f"once for each {function.idempotency}"


def _rate(limit: Throttle | RateLimit) -> str:
    return f"{limit.limit} in {duration(limit.period_ms)}{_per(limit.key)}"


def _per(key: str | None) -> str:
    return f" for each {key}" if key else ""
