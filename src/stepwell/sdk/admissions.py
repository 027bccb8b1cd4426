"""What a function may say of the events that start it: limits decided when one comes in (protocol 5.10).

Durations are texts such as ``"10s"``, a ``timedelta``, or whole milliseconds, as in the other SDKs of the protocol. Keys and
conditions are expressions over ``event``; a limit counts for each value of its ``key``, or for the function without one.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stepwell.errors import ConfigError
from stepwell.sdk import checks
from stepwell.sdk.flow import Duration, read_duration
from stepwell.wire import function_config as wire
from stepwell.wire.durations import format_duration
from stepwell.wire.flow_config import parse_batch, parse_debounce, parse_rate_limit, parse_singleton
from stepwell.wire.function_fields import BadRegistration, Fields


class RateLimit(msgspec.Struct, frozen=True):
    """At most ``limit`` runs at once, and on average in each ``period`` (up to 24 hours); what is above starts none."""

    limit: int
    period: Duration
    key: str | None = None


class Debounce(msgspec.Struct, frozen=True):
    """A run begins once no event has come for ``period`` (1 second to 7 days), with the newest one.

    ``timeout``: it begins so long after the first event at the latest; default: however long it takes.
    """

    period: Duration
    key: str | None = None
    timeout: Duration | None = None


class Batch(msgspec.Struct, frozen=True):
    """Up to ``max_size`` (2 or more) events start one run, ``timeout`` (1 second or more) after the first at the latest.

    ``ctx.events`` has all of them. An event for which ``if_exp`` is not true has a run of its own.
    """

    max_size: int
    timeout: Duration | None = "60s"
    key: str | None = None
    if_exp: str | None = None


class Singleton(msgspec.Struct, frozen=True):
    """One run at a time. While one is active, ``mode="skip"`` skips a new one, ``mode="cancel"`` cancels the active one."""

    mode: Literal["skip", "cancel"]
    key: str | None = None


class Admissions(msgspec.Struct, frozen=True):
    """All of these of a function, as they are registered."""

    rate_limit: wire.RateLimit | None = None
    debounce: wire.Debounce | None = None
    batch: wire.Batch | None = None
    singleton: wire.Singleton | None = None
    idempotency: str | None = None


NONE = Admissions()
_BATCH_TIMEOUT = "60s"


def read_admissions(
    fn_id: str,
    *,
    rate_limit: RateLimit | None,
    debounce: Debounce | None,
    batch_events: Batch | None,
    singleton: Singleton | None,
    idempotency: str | None,
) -> Admissions:
    """What the user said, checked by the rules of a registration. Raises ``ConfigError``."""

    def fields(name: str, **members: Any) -> Fields:
        where = f"function {fn_id!r}: {name}"
        return Fields(
            {key: _plain(fn_id, name, key, value) for key, value in members.items() if value is not None}, where
        )

    rate, calm, batch, single = rate_limit, debounce, batch_events, singleton
    checks.instance(fn_id, "rate_limit", rate, RateLimit)
    checks.instance(fn_id, "debounce", calm, Debounce)
    checks.instance(fn_id, "batch_events", batch, Batch)
    checks.instance(fn_id, "singleton", single, Singleton)
    if idempotency is not None:
        checks.text(f"function {fn_id!r}: idempotency is an expression, such as 'event.data.order'", idempotency)
    try:
        return Admissions(
            rate_limit=rate and parse_rate_limit(fields("rate_limit", **msgspec.structs.asdict(rate))),
            debounce=calm and parse_debounce(fields("debounce", **msgspec.structs.asdict(calm))),
            batch=batch
            and parse_batch(
                fields(
                    "batch_events",
                    **{
                        "maxSize": batch.max_size,
                        "timeout": _BATCH_TIMEOUT if batch.timeout is None else batch.timeout,
                        "key": batch.key,
                        "if": batch.if_exp,
                    },
                )
            ),
            singleton=single and parse_singleton(fields("singleton", **msgspec.structs.asdict(single))),
            idempotency=idempotency,
        )
    except BadRegistration as problem:
        raise ConfigError(str(problem)) from None


def _plain(fn_id: str, name: str, key: str, value: Any) -> Any:
    if key not in ("period", "timeout"):
        return value
    return format_duration(read_duration(fn_id, f"{name} with a {key} that can not be read", value))


def check_batch(fn_id: str, admissions: Admissions, *, cancel: bool, priority: bool) -> None:
    """Raises ``ConfigError`` when a batch is asked for with what does not go together with it (protocol 1.3)."""
    others = {
        "cancel": cancel,
        "debounce": admissions.debounce,
        "singleton": admissions.singleton,
        "priority": priority,
    }
    for name, value in others.items():
        if admissions.batch is not None and value:
            raise ConfigError(f"function {fn_id!r}: batch_events and {name} do not go together: remove one of them")
