"""What a function may say of when its runs start and how many there are at once, as users write it (protocol 1.3).

Durations are texts such as ``"1m"``, ``timedelta``s, or whole milliseconds. Keys are expressions over the event, such as
``"event.data.user"``: a limit with a key holds for each of its values.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, cast

import msgspec

from stepwell.errors import ConfigError
from stepwell.sdk import checks
from stepwell.wire import function_config as wire
from stepwell.wire.durations import to_ms

Duration = int | timedelta | str
_MOST_ENTRIES = 2


class Concurrency(msgspec.Struct, frozen=True):
    """At most ``limit`` steps and requests at once, for each value of ``key``; as ``run_concurrency``: runs at once.

    ``scope``: who shares the slots: the runs of this function, or with a key those of all functions (``env``, ``account``).
    """

    limit: int
    key: str | None = None
    scope: Literal["fn", "env", "account"] | None = "fn"


class Throttle(msgspec.Struct, frozen=True):
    """``limit`` in each ``period``, evenly spread, and up to ``burst`` at once; for each value of ``key``."""

    limit: int
    period: Duration
    burst: int | None = 1
    key: str | None = None


class Priority(msgspec.Struct, frozen=True):
    """``run`` is an expression over the event that gives seconds, from -600 to 600.

    A run goes before all that came in so many seconds before it; with a negative number it begins so much later.
    """

    run: str


class Timeouts(msgspec.Struct, frozen=True):
    """A run is cancelled that has not begun ``start`` after it was due, or not ended ``finish`` after it began."""

    start: Duration | None = None
    finish: Duration | None = None


Limits = Sequence[Concurrency | int] | Concurrency | int | None


def read_limits(fn_id: str, name: str, given: Limits) -> tuple[wire.Concurrency, ...]:
    """The entries of ``concurrency`` or ``run_concurrency``; a number is a plain limit. Raises ConfigError."""
    listed = _listed(given)
    for each in listed:
        checks.instance(fn_id, name, each, Concurrency)
        if each.limit < 1:
            raise ConfigError(
                f"function {fn_id!r} has {name} limit {each.limit}: 1 is the least; leave it out for none"
            )
    if len(listed) > _MOST_ENTRIES:
        raise ConfigError(f"function {fn_id!r} has {len(listed)} {name} entries: two are possible")
    return tuple(wire.Concurrency(limit=one.limit, key=one.key, scope=wire.Scope(one.scope or "fn")) for one in listed)


def read_run_limits(fn_id: str, given: Limits) -> tuple[wire.Concurrency, ...]:
    """The entries of ``run_concurrency``, which are the function's own. Raises ConfigError."""
    found = read_limits(fn_id, "run_concurrency", given)
    if any(each.scope is not wire.Scope.FN for each in found):
        raise ConfigError(f"function {fn_id!r} has a run_concurrency with a scope: it counts the function's own runs")
    return found


def read_throttle(fn_id: str, name: str, given: Throttle | None) -> wire.Throttle | None:
    """A ``throttle`` or ``fetch_throttle``. Raises ConfigError."""
    if given is None:
        return None
    checks.instance(fn_id, name, given, Throttle)
    period = read_duration(fn_id, f"{name} with a period that can not be read", given.period)
    burst = 1 if given.burst is None else given.burst
    if period < 1 or given.limit < 1 or burst < 0:
        raise ConfigError(f"function {fn_id!r}: a {name} needs a limit of 1 or more, and a period above 0")
    return wire.Throttle(limit=given.limit, period_ms=period, burst=burst, key=given.key)


def read_timeouts(fn_id: str, given: Timeouts | None) -> wire.RunTimeouts | None:
    """The time-outs of a run. Raises ConfigError."""
    if given is None:
        return None
    checks.instance(fn_id, "timeouts", given, Timeouts)
    found = {
        name: None if value is None else read_duration(fn_id, f"{name} timeout that can not be read", value)
        for name, value in (("start", given.start), ("finish", given.finish))
    }
    for name, value in found.items():
        if value == 0:
            raise ConfigError(f"function {fn_id!r} has a {name} timeout of nothing: leave it out for none")
    return wire.RunTimeouts(start_ms=found["start"], finish_ms=found["finish"])


def read_duration(fn_id: str, what: str, given: Duration) -> int:
    """Milliseconds; a bare whole number is that, as in the other SDKs of the protocol. Raises ConfigError."""
    value: object = given
    if isinstance(value, bool | float):
        raise ConfigError(
            f"function {fn_id!r} has a {what}: say its unit, such as '{value}s', or use whole milliseconds"
        )
    if isinstance(value, int):
        if value < 0:
            raise ConfigError(f"function {fn_id!r} has a {what}: {value} is less than nothing")
        return value
    try:
        return to_ms(value)
    except (TypeError, ValueError) as problem:
        raise ConfigError(f"function {fn_id!r} has a {what}: {problem}") from None


def _listed(given: Limits) -> list[Concurrency]:
    if given is None:
        return []
    if isinstance(given, int):
        return [Concurrency(given)]
    listed = given if isinstance(given, list | tuple) else [given]
    return [Concurrency(each) if isinstance(each, int) else cast("Concurrency", each) for each in listed]
