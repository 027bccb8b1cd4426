"""What a run has to keep to from its start on: evaluated once, when it is made (protocol 5.10)."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from stepwell.core.flow.keys import key_hash, key_value, limits_for, pace_of, paces_for
from stepwell.core.model import Limit, Pace
from stepwell.wire.function_config import Concurrency, FunctionConfig, Throttle
from stepwell.wire.jsons import decode

MAX_PRIORITY_S = 43_200
"""Priorities beyond these seconds, either way, count as these (protocol 1.3)."""


class StartRules(msgspec.Struct, frozen=True, kw_only=True):
    """``limits`` of the run's calls and requests, ``paces`` of its requests; the rest is about the run as a whole.

    ``throttle``: what its first call has to pass; ``holds``: slots that it takes with that call and keeps to its end.
    ``priority_ms``: how much earlier than it is due its work is done. ``start_ms``, ``finish_ms``: its time-outs.
    """

    limits: tuple[Limit, ...] = ()
    paces: tuple[Pace, ...] = ()
    throttle: tuple[Pace, ...] = ()
    holds: tuple[Limit, ...] = ()
    priority_ms: int = 0
    start_ms: int | None = None
    finish_ms: int | None = None


NO_RULES = StartRules()


def rules_for(
    function: FunctionConfig, event: bytes | Mapping[str, Any], env: str = "", now_ms: int | None = None
) -> StartRules:
    """The rules of a run that ``event`` starts, which came in at ``now_ms``.

    As JSON text it is read only where an expression asks for it.
    """
    if isinstance(event, bytes) and _asks(function):
        event = decode(event)
    timeouts = function.timeouts
    return StartRules(
        limits=limits_for(function, event, env),
        paces=paces_for(function, event),
        throttle=() if function.throttle is None else (_throttle(function.id, function.throttle, event),),
        holds=_holds(function.id, function.run_concurrency, event),
        priority_ms=_priority_ms(function.priority, event, now_ms),
        start_ms=timeouts.start_ms if timeouts else None,
        finish_ms=timeouts.finish_ms if timeouts else None,
    )


def _asks(function: FunctionConfig) -> bool:
    keyed = (*function.concurrency, *function.run_concurrency, function.throttle, function.fetch_throttle)
    return function.priority is not None or any(entry is not None and entry.key is not None for entry in keyed)


def _throttle(slug: str, rule: Throttle, event: Any) -> Pace:
    key = "" if rule.key is None else key_hash(key_value(rule.key, event))
    return pace_of(f"throttle:{slug}:{key}", rule)


def _holds(slug: str, entries: tuple[Concurrency, ...], event: Any) -> tuple[Limit, ...]:
    """Of two entries that come to the same bucket the lower limit holds."""
    found: dict[str, int] = {}
    for entry in entries:
        key = "" if entry.key is None else key_hash([entry.key, key_value(entry.key, event)])
        bucket = f"run:{slug}:{key}"
        found[bucket] = min(entry.limit, found.get(bucket, entry.limit))
    return tuple(Limit(bucket, limit) for bucket, limit in found.items())


def _priority_ms(expression: str | None, event: Any, now_ms: int | None) -> int:
    """What is no number, or can not be computed, is 0."""
    found = None if expression is None else key_value(expression, event, now_ms)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return 0
    if isinstance(found, float) and not math.isfinite(found):
        return 0
    return max(-MAX_PRIORITY_S, min(MAX_PRIORITY_S, int(found))) * 1000
