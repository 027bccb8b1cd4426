"""The flow-control parts of a function's registration: shapes and bounds (protocol 1.3)."""

from stepwell.wire.constants import MAX_WAIT_MS
from stepwell.wire.function_config import (
    Batch,
    Concurrency,
    Debounce,
    RateLimit,
    RunTimeouts,
    Scope,
    Singleton,
    SingletonMode,
    Throttle,
)
from stepwell.wire.function_fields import Fields
from stepwell.wire.jsons import as_object

MAX_CONCURRENCY = 2
"""Entries a function."""

_DAY_MS = 24 * 3600 * 1000
_MANY = 2**31


def parse_concurrency(fields: Fields) -> tuple[Concurrency, ...]:
    """Entries that count executing steps: an integer, an entry, an array of them, or ``{"step": […]}``."""
    found = fields.get("concurrency")
    parts = _parts(fields)
    if parts is not None:
        return _entries(parts, "step", parts.array("step", MAX_CONCURRENCY))
    if isinstance(found, list):
        return _entries(fields, "concurrency", fields.array("concurrency", MAX_CONCURRENCY))
    return _entries(fields, "concurrency", [] if found is None else [found])


def parse_run_concurrency(fields: Fields) -> tuple[Concurrency, ...]:
    """Entries that count runs: the ``{"fn": […]}`` part."""
    parts = _parts(fields)
    return () if parts is None else _entries(parts, "fn", parts.array("fn", MAX_CONCURRENCY))


def _parts(fields: Fields) -> Fields | None:
    """The newest shape, told by its members."""
    found = as_object(fields.get("concurrency"))
    if found is None or not {key.lower() for key in found} & {"fn", "step"}:
        return None
    return fields.fields("concurrency")


def _entries(fields: Fields, key: str, items: list[object]) -> tuple[Concurrency, ...]:
    entries = [
        _entry(Fields({"limit": item} if isinstance(item, int) else item, f"{fields.where}: {key}")) for item in items
    ]
    return tuple(entry for entry in entries if entry.limit > 0)


def _entry(fields: Fields) -> Concurrency:
    """One entry; a limit of 0 means no limit."""
    try:
        scope = Scope(fields.text("scope") or Scope.FN)
    except ValueError:
        raise fields.bad(f"scope is {fields.text('scope')!r}, and has to be 'fn', 'env' or 'account'") from None
    key = fields.expression("key")
    if scope is not Scope.FN and key is None:
        raise fields.bad(f"scope {scope.value!r} needs a key: an expression that says who shares the slots")
    return Concurrency(limit=fields.integer("limit", 0, _MANY), key=key, scope=scope)


def parse_throttle(fields: Fields) -> Throttle:
    """Pacing; a limit of 0 counts as 1."""
    return Throttle(
        limit=max(1, fields.integer("limit", 0, _MANY)),
        period_ms=fields.need_duration("period", 1, MAX_WAIT_MS),
        burst=fields.integer("burst", 0, _MANY, 0),
        key=fields.expression("key"),
    )


def parse_rate_limit(fields: Fields) -> RateLimit:
    """A limit above which events start no run."""
    return RateLimit(
        limit=fields.integer("limit", 1, _MANY),
        period_ms=fields.need_duration("period", 1, _DAY_MS),
        key=fields.expression("key"),
    )


def parse_debounce(fields: Fields) -> Debounce:
    """Waiting for the events to calm down."""
    return Debounce(
        period_ms=fields.need_duration("period", 1_000, 7 * _DAY_MS),
        key=fields.expression("key"),
        timeout_ms=fields.duration("timeout", 1, MAX_WAIT_MS),
    )


def parse_batch(fields: Fields) -> Batch:
    """Several events for one run."""
    return Batch(
        max_size=fields.integer("maxSize", 2, _MANY),
        timeout_ms=fields.need_duration("timeout", 1_000, MAX_WAIT_MS),
        key=fields.expression("key"),
        condition=fields.expression("if"),
    )


def parse_timeouts(fields: Fields) -> RunTimeouts:
    """Bounds of a run's time."""
    return RunTimeouts(
        start_ms=fields.duration("start", 1, MAX_WAIT_MS), finish_ms=fields.duration("finish", 1, MAX_WAIT_MS)
    )


def parse_singleton(fields: Fields) -> Singleton:
    """One run at a time."""
    mode = fields.need_text("mode")
    if mode not in ("skip", "cancel"):
        raise fields.bad(f"mode is {mode!r}, and has to be 'skip' or 'cancel'")
    return Singleton(mode=SingletonMode(mode), key=fields.expression("key"))
