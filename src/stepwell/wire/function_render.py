"""A function's registration as JSON members, as the protocol has them (1.3)."""

from typing import Any

from stepwell.wire.constants import DISCOVERY
from stepwell.wire.durations import format_duration
from stepwell.wire.function_config import (
    Batch,
    Cancel,
    Concurrency,
    Debounce,
    FunctionConfig,
    RateLimit,
    RunTimeouts,
    Scope,
    Singleton,
    Throttle,
    Trigger,
)


def render_function(config: FunctionConfig) -> dict[str, Any]:
    """The members that ``parse_function`` reads back to the same config."""
    runtime = {"type": config.runtime} | ({"url": config.url} if config.url else {})
    step = {"id": DISCOVERY, "name": DISCOVERY, "runtime": runtime, "retries": {"attempts": config.retries}}
    return {
        "id": config.id,
        "name": config.name,
        "triggers": [_trigger(trigger) for trigger in config.triggers],
        "steps": {DISCOVERY: step},
        **_present(
            concurrency=_all_concurrency(config),
            throttle=_throttle(config.throttle),
            fetch_throttle=_throttle(config.fetch_throttle),
            rateLimit=_rate_limit(config.rate_limit),
            debounce=_debounce(config.debounce),
            batchEvents=_batch(config.batch),
            priority={"run": config.priority} if config.priority else None,
            cancel=[_cancel(entry) for entry in config.cancel] or None,
            timeouts=_timeouts(config.timeouts),
            singleton=_singleton(config.singleton),
            idempotency=config.idempotency,
        ),
    }


def _present(**members: Any) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value is not None}


def _duration(ms: int | None) -> str | None:
    return None if ms is None else format_duration(ms)


def _trigger(trigger: Trigger) -> dict[str, Any]:
    jitter = _duration(trigger.jitter_ms) if trigger.jitter_ms else None
    return _present(event=trigger.event, expression=trigger.expression, cron=trigger.cron, jitter=jitter)


def _all_concurrency(config: FunctionConfig) -> object:
    steps = [_concurrency(entry) for entry in config.concurrency]
    if not config.run_concurrency:
        return steps or None
    return {"fn": [_concurrency(entry) for entry in config.run_concurrency], "step": steps}


def _concurrency(entry: Concurrency) -> dict[str, Any]:
    scope = None if entry.scope is Scope.FN else entry.scope.value
    return _present(limit=entry.limit, key=entry.key, scope=scope)


def _throttle(entry: Throttle | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return _present(limit=entry.limit, period=_duration(entry.period_ms), burst=entry.burst or None, key=entry.key)


def _rate_limit(entry: RateLimit | None) -> dict[str, Any] | None:
    return entry and _present(limit=entry.limit, period=_duration(entry.period_ms), key=entry.key)


def _debounce(entry: Debounce | None) -> dict[str, Any] | None:
    return entry and _present(period=_duration(entry.period_ms), key=entry.key, timeout=_duration(entry.timeout_ms))


def _batch(entry: Batch | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    members = _present(maxSize=entry.max_size, timeout=_duration(entry.timeout_ms), key=entry.key)
    return members | ({"if": entry.condition} if entry.condition else {})


def _cancel(entry: Cancel) -> dict[str, Any]:
    members = _present(event=entry.event, timeout=entry.timeout)
    return members | ({"if": entry.condition} if entry.condition else {})


def _timeouts(entry: RunTimeouts | None) -> dict[str, Any] | None:
    return entry and _present(start=_duration(entry.start_ms), finish=_duration(entry.finish_ms))


def _singleton(entry: Singleton | None) -> dict[str, Any] | None:
    return entry and _present(mode=entry.mode.value, key=entry.key)
