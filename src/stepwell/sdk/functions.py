"""Functions as users declare them, and their registration form (protocol 1.3)."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal

import msgspec

from stepwell.errors import ConfigError
from stepwell.sdk import values
from stepwell.sdk.context import Context, ContextSync
from stepwell.sdk.drivers.bodies import is_async
from stepwell.sdk.events import Event
from stepwell.sdk.generics import T_co
from stepwell.sdk.handlers import Handler
from stepwell.sdk.middleware import MakeMiddleware
from stepwell.sdk.triggers import TriggerEvent, typed
from stepwell.wire import function_config as wire
from stepwell.wire.constants import DEFAULT_RETRIES, DISCOVERY, MAX_RETRIES
from stepwell.wire.durations import to_ms
from stepwell.wire.function_render import render_function

if TYPE_CHECKING:
    from stepwell.sdk.client import Client


class Concurrency(msgspec.Struct, frozen=True):
    """At most ``limit`` steps and requests at once, for each value of ``key``, an expression such as ``event.data.user``."""

    limit: int
    key: str | None = None
    scope: Literal["fn", "env", "account"] | None = "fn"


class Throttle(msgspec.Struct, frozen=True):
    """``limit`` in each ``period``, and ``burst`` more at once, for each value of ``key``, an expression over the event.

    ``period``: seconds, a ``timedelta`` or a text such as ``"1m"``.
    """

    limit: int
    period: float | timedelta | str
    burst: int = 0
    key: str | None = None


class Cancel(msgspec.Struct, frozen=True):
    """Ends a run when an event comes that ``if_exp`` holds for (default: any of that name).

    ``if_exp`` has ``event``, the one that started the run, and ``async``, the one that came. ``timeout``: how long after
    its start the run can be ended so, such as ``"1h"``; default: always.
    """

    event: str
    if_exp: str | None = None
    timeout: str | None = None


class Function(Generic[T_co]):
    """A function of an app; made by ``client.create_function``. ``id`` is ``<app>-<fn_id>``.

    ``kind``: what its result is read back as by who invokes it; None for plain JSON.
    """

    def __init__(
        self,
        client: Client,
        handler: Handler,
        *,
        fn_id: str,
        triggers: Sequence[TriggerEvent[Any]],
        name: str | None = None,
        retries: int | None = None,
        concurrency: Sequence[Concurrency] = (),
        cancel: Sequence[Cancel] = (),
        fetch_throttle: Throttle | None = None,
        output_type: Any = None,
        middleware: Sequence[MakeMiddleware] = (),
    ) -> None:
        retries = DEFAULT_RETRIES if retries is None else retries
        if not 0 <= retries <= MAX_RETRIES:
            raise ConfigError(f"function {fn_id!r} has retries={retries}: 0 to {MAX_RETRIES} are possible")
        if not fn_id or not isinstance(fn_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError("a function needs a fn_id: a name that stays when its code changes")
        for each in concurrency:
            if each.limit < 1:
                raise ConfigError(
                    f"function {fn_id!r} has concurrency limit {each.limit}: 1 is the least; leave it out for none"
                )
        if len(concurrency) > 2:
            raise ConfigError(f"function {fn_id!r} has {len(concurrency)} concurrency entries: two are possible")
        self.client = client
        self.handler = handler
        self.fn_id = fn_id
        self.id = f"{client.app_id}-{fn_id}"
        self.name = name or fn_id
        self.triggers = tuple(triggers)
        self.retries = retries
        self.concurrency = tuple(concurrency)
        self.cancel = tuple(cancel)
        self.fetch_throttle = _throttle(fn_id, fetch_throttle)
        self.kind = values.declared(handler) if output_type is None else values.concrete(output_type)
        self.middleware = (*client.middleware, *middleware)
        self.is_sync = not is_async(handler)
        self.logger: logging.Logger = client.logger
        self._takes_step = _positionals(handler) > 1

    def config(self, url: str) -> dict[str, Any]:
        """The registration form, for an app that is served at ``url`` (empty: called in process)."""
        calls = f"{url}{'&' if '?' in url else '?'}fnId={self.id}&stepId={DISCOVERY}" if url else ""
        found = wire.FunctionConfig(
            id=self.id,
            name=self.name,
            url=calls,
            triggers=tuple(wire.Trigger(event=each.event, expression=each.expression) for each in self.triggers),
            retries=self.retries,
            cancel=tuple(
                wire.Cancel(event=each.event, condition=each.if_exp, timeout=each.timeout) for each in self.cancel
            ),
            concurrency=tuple(
                wire.Concurrency(limit=each.limit, key=each.key, scope=wire.Scope(each.scope or "fn"))
                for each in self.concurrency
            ),
            fetch_throttle=self.fetch_throttle,
        )
        return render_function(found)

    def typed(self, event: Event[Any]) -> Event[Any]:
        """The event with its data as the triggers declare it. Raises ``EventDataError``."""
        return typed(event, self.triggers)

    def call_async(self, context: Context[Any]) -> Coroutine[Any, Any, Any]:
        """The coroutine of an async function."""
        return self.handler(context, context.step) if self._takes_step else self.handler(context)

    def call_sync(self, context: ContextSync[Any]) -> Any:
        """Call a sync function."""
        return self.handler(context, context.step) if self._takes_step else self.handler(context)


def _throttle(fn_id: str, given: Throttle | None) -> wire.Throttle | None:
    if given is None:
        return None
    try:
        period = to_ms(given.period)
    except (TypeError, ValueError) as problem:
        raise ConfigError(f"function {fn_id!r} has a fetch_throttle without a period: {problem}") from None
    if period < 1 or given.limit < 1 or given.burst < 0:
        raise ConfigError(f"function {fn_id!r}: a fetch_throttle needs a limit of 1 or more, and a period above 0")
    return wire.Throttle(limit=given.limit, period_ms=period, burst=given.burst, key=given.key)


def _positionals(handler: Handler) -> int:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(handler).parameters.values()
    if not any(each.kind in (*kinds, inspect.Parameter.VAR_POSITIONAL) for each in parameters):
        name = getattr(handler, "__name__", type(handler).__name__)
        raise ConfigError(f"the function {name} takes no argument: declare it as {name}(ctx)")
    return sum(1 for each in parameters if each.kind in kinds and each.default is inspect.Parameter.empty)
