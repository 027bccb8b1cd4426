"""Functions as users declare them, and their registration form (protocol 1.3)."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Generic

import msgspec

from stepwell.errors import ConfigError
from stepwell.sdk import values
from stepwell.sdk.admissions import NONE, Admissions, check_batch
from stepwell.sdk.context import Context, ContextSync
from stepwell.sdk.drivers.bodies import is_async
from stepwell.sdk.events import Event
from stepwell.sdk.flow import (
    Limits,
    Priority,
    Throttle,
    Timeouts,
    read_limits,
    read_run_limits,
    read_throttle,
    read_timeouts,
)
from stepwell.sdk.generics import T_co
from stepwell.sdk.handlers import Handler
from stepwell.sdk.invoking import Timeout, timeout_text
from stepwell.sdk.middleware import MakeMiddleware
from stepwell.sdk.triggers import TriggerCron, TriggerEvent, typed, wire_trigger
from stepwell.wire import function_config as wire
from stepwell.wire.constants import DEFAULT_RETRIES, DISCOVERY, MAX_RETRIES
from stepwell.wire.function_render import render_function

if TYPE_CHECKING:
    from stepwell.sdk.client import Client


class Cancel(msgspec.Struct, frozen=True):
    """Ends a run when an event comes that ``if_exp`` holds for (default: any of that name).

    ``if_exp`` has ``event``, the one that started the run, and ``async``, the one that came. ``timeout``: how long after
    its start the run can be ended so: ``"1h"``, a ``timedelta`` or milliseconds; default: always.
    """

    event: str
    if_exp: str | None = None
    timeout: Timeout | None = None


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
        triggers: Sequence[TriggerEvent[Any] | TriggerCron],
        name: str | None = None,
        retries: int | None = None,
        concurrency: Limits = None,
        run_concurrency: Limits = None,
        cancel: Sequence[Cancel] = (),
        throttle: Throttle | None = None,
        priority: Priority | None = None,
        timeouts: Timeouts | None = None,
        fetch_throttle: Throttle | None = None,
        admissions: Admissions = NONE,
        output_type: Any = None,
        middleware: Sequence[MakeMiddleware] = (),
    ) -> None:
        retries = DEFAULT_RETRIES if retries is None else retries
        if not 0 <= retries <= MAX_RETRIES:
            raise ConfigError(f"function {fn_id!r} has retries={retries}: 0 to {MAX_RETRIES} are possible")
        if not fn_id or not isinstance(fn_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError("a function needs a fn_id: a name that stays when its code changes")
        self.client = client
        self.handler = handler
        self.fn_id = fn_id
        self.id = f"{client.app_id}-{fn_id}"
        self.name = name or fn_id
        self.triggers = tuple(triggers)
        self.retries = retries
        self.concurrency = read_limits(fn_id, "concurrency", concurrency)
        self.run_concurrency = read_run_limits(fn_id, run_concurrency)
        self.cancel = tuple(cancel)
        self.throttle = read_throttle(fn_id, "throttle", throttle)
        self.priority = priority
        self.timeouts = read_timeouts(fn_id, timeouts)
        self.fetch_throttle = read_throttle(fn_id, "fetch_throttle", fetch_throttle)
        self.admissions = admissions
        check_batch(fn_id, admissions, cancel=bool(cancel), priority=priority is not None)
        self.kind = values.declared(handler) if output_type is None else values.concrete(output_type)
        self.middleware = (*client.middleware, *middleware)
        self.is_sync = not is_async(handler)
        self._takes_step = _positionals(handler) > 1

    @property
    def logger(self) -> logging.Logger:
        """What ``ctx.logger`` writes to."""
        return self.client.logger

    def config(self, url: str) -> dict[str, Any]:
        """The registration form, for an app that is served at ``url`` (empty: called in process)."""
        calls = f"{url}{'&' if '?' in url else '?'}fnId={self.id}&stepId={DISCOVERY}" if url else ""
        found = wire.FunctionConfig(
            id=self.id,
            name=self.name,
            url=calls,
            triggers=tuple(wire_trigger(self.fn_id, each) for each in self.triggers),
            retries=self.retries,
            cancel=tuple(
                wire.Cancel(event=each.event, condition=each.if_exp, timeout=_written(each.timeout))
                for each in self.cancel
            ),
            concurrency=self.concurrency,
            run_concurrency=self.run_concurrency,
            throttle=self.throttle,
            priority=None if self.priority is None else self.priority.run,
            timeouts=self.timeouts,
            fetch_throttle=self.fetch_throttle,
            rate_limit=self.admissions.rate_limit,
            debounce=self.admissions.debounce,
            batch=self.admissions.batch,
            singleton=self.admissions.singleton,
            idempotency=self.admissions.idempotency,
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


def _written(timeout: Timeout | None) -> str | None:
    """A text stays as it is: it may be a date."""
    return timeout if timeout is None or isinstance(timeout, str) else timeout_text(timeout)


def _positionals(handler: Handler) -> int:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(handler).parameters.values()
    if not any(each.kind in (*kinds, inspect.Parameter.VAR_POSITIONAL) for each in parameters):
        name = getattr(handler, "__name__", type(handler).__name__)
        raise ConfigError(f"the function {name} takes no argument: declare it as {name}(ctx)")
    return sum(1 for each in parameters if each.kind in kinds and each.default is inspect.Parameter.empty)
