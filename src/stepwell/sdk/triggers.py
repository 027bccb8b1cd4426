"""What starts a function, and the types that triggers declare for the data of their events."""

from collections.abc import Sequence
from typing import Any, Generic, cast

import msgspec

from stepwell.errors import ConfigError, EventDataError
from stepwell.sdk import checks
from stepwell.sdk.events import Event, EventType, fit
from stepwell.sdk.flow import Duration, read_duration
from stepwell.sdk.generics import D_co
from stepwell.wire import function_config as wire

_INVOKED = "inngest/function.invoked"


class TriggerEvent(msgspec.Struct, Generic[D_co], frozen=True):
    """Starts the function on each event of that name (or pattern: ``order/*``) for which ``expression`` is true.

    ``schema``: the type that the event's data has to fit (a pydantic model, msgspec struct, dataclass or TypedDict); the
    function finds it in ``ctx.event.data``. An event that does not fit fails its run at once, with ``EventDataError``.
    """

    event: str
    expression: str | None = None
    schema: type[D_co] | None = None


class TriggerCron(msgspec.Struct, frozen=True):
    """Starts the function at the times of a schedule: five fields, or ``@hourly``, ``@daily``, ``@weekly``, ``@monthly``.

    In UTC, or in the zone that it begins with: ``"TZ=Europe/Berlin 0 9 * * MON-FRI"``. ``jitter``: each start is put off by
    some time up to this (1 s to 5 min): ``"30s"``, a ``timedelta`` or milliseconds.
    """

    cron: str
    jitter: Duration | None = None


def read_triggers(fn_id: str, given: object) -> list[TriggerEvent[Any] | TriggerCron]:
    """One trigger or several, as ``create_function`` takes them. Raises ``ConfigError``."""
    listed: Sequence[object] = cast("Sequence[object]", given) if isinstance(given, list | tuple) else [given]
    found = [_trigger(each) for each in listed]
    for each in found:
        if each is not None:
            checks.instance(fn_id, "trigger", each, type(each))
        if isinstance(each, TriggerEvent):
            checks.schema(f"function {fn_id!r}: its trigger {each.event!r}", each.schema)
    if any(each is None or not (each.cron if isinstance(each, TriggerCron) else each.event) for each in found):
        raise ConfigError(f"function {fn_id!r} needs a trigger such as trigger=TriggerEvent(event='shop/order.placed')")
    return [each for each in found if each is not None]


def wire_trigger(fn_id: str, given: TriggerEvent[Any] | TriggerCron) -> wire.Trigger:
    """The trigger as it is registered. Raises ``ConfigError``."""
    if isinstance(given, TriggerCron):
        jitter = 0 if given.jitter is None else read_duration(fn_id, "jitter that can not be read", given.jitter)
        return wire.Trigger(cron=given.cron, jitter_ms=jitter)
    return wire.Trigger(event=given.event, expression=given.expression)


def _trigger(given: object) -> TriggerEvent[Any] | TriggerCron | None:
    if isinstance(given, EventType):
        kind = cast("EventType[Any]", given)
        return TriggerEvent(kind.name, schema=kind.schema)
    return cast("TriggerEvent[Any] | TriggerCron", given) if isinstance(given, TriggerEvent | TriggerCron) else None


def typed(event: Event[Any], triggers: Sequence[TriggerEvent[Any] | TriggerCron]) -> Event[Any]:
    """The event with its data as the trigger that it matches declares; an invocation fits any of them.

    Raises ``EventDataError``.
    """
    named = (each for each in triggers if isinstance(each, TriggerEvent))
    schemas = [each.schema for each in named if _matches(each.event, event.name)]
    if not schemas or None in schemas:
        return event
    problem: EventDataError | None = None
    for schema in dict.fromkeys(schemas):
        try:
            return fit(event, schema)
        except EventDataError as misfit:
            problem = problem or misfit
    assert problem is not None
    raise problem


def _matches(pattern: str, name: str) -> bool:
    """Protocol 5.2: exactly, or by a prefix that ends at a ``/`` or ``.``."""
    if name == _INVOKED:
        return True
    if pattern.endswith(("/*", ".*")):
        return name.startswith(pattern[:-1])
    return pattern == name
