"""Functions as users declare them, and their registration form (protocol 1.3)."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Generic, NoReturn
from urllib.parse import quote

import msgspec

from stepwell.errors import ConfigError
from stepwell.sdk import checks, values
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
from stepwell.sdk.handlers import Handler, check_handler, positionals
from stepwell.sdk.invoking import Timeout, timeout_text
from stepwell.sdk.middleware import MakeMiddleware
from stepwell.sdk.triggers import TriggerCron, TriggerEvent, typed, wire_trigger
from stepwell.wire import function_config as wire
from stepwell.wire.constants import DEFAULT_RETRIES, DISCOVERY, MAX_RETRIES
from stepwell.wire.durations import parse_duration_or_date
from stepwell.wire.function_fields import BadRegistration
from stepwell.wire.function_render import render_function
from stepwell.wire.functions import parse_function

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
        checks.text("a function needs a fn_id, a text that stays when its code changes", fn_id)
        check_handler(fn_id, handler)
        self.client = client
        self.handler = handler
        self.fn_id = fn_id
        self.id = f"{client.app_id}-{fn_id}"
        self.name = checks.text(f"function {fn_id!r}: its name is a text", name or fn_id)
        self.triggers = tuple(triggers)
        self.retries = _retries(fn_id, retries)
        self.concurrency = read_limits(fn_id, "concurrency", concurrency)
        self.run_concurrency = read_run_limits(fn_id, run_concurrency)
        checks.instances(fn_id, "cancel", cancel, Cancel)
        self.cancel = tuple(cancel)
        self.throttle = read_throttle(fn_id, "throttle", throttle)
        checks.instance(fn_id, "priority", priority, Priority)
        self.priority = priority
        self.timeouts = read_timeouts(fn_id, timeouts)
        self.fetch_throttle = read_throttle(fn_id, "fetch_throttle", fetch_throttle)
        self.admissions = admissions
        check_batch(fn_id, admissions, cancel=bool(cancel), priority=priority is not None)
        checks.output_type(f"function {fn_id!r}", output_type)
        self.kind = values.declared(handler) if output_type is None else values.concrete(output_type)
        self._middleware = checks.middleware(f"function {fn_id!r}", middleware)
        self.is_sync = not is_async(handler)
        self._takes_step = positionals(handler) > 1
        self.hooks: list[Function[Any]] = []
        """Those that run when a run of it has failed or was cancelled: served with it."""
        self._check()

    def _check(self) -> None:
        """By the rules of registrations, so that what the platform would refuse is told at once. Raises ``ConfigError``."""
        try:
            parse_function(self.config("http://localhost"))
        except BadRegistration as problem:
            raise ConfigError(str(problem)) from None

    def __call__(self, *_args: object, **_options: object) -> NoReturn:
        """Functions are started, not called."""
        raise TypeError(
            f"function {self.fn_id!r} is not called: it is started by its trigger, by step.invoke(..., function=...) in "
            "another function, and by run_function of stepwell.testing in a test"
        )

    @property
    def middleware(self) -> tuple[MakeMiddleware, ...]:
        """The client's, and the function's own inside of it."""
        return (*self.client.middleware, *self._middleware)

    @property
    def logger(self) -> logging.Logger:
        """What ``ctx.logger`` writes to."""
        return self.client.logger

    def config(self, url: str) -> dict[str, Any]:
        """The registration form, for an app that is served at ``url`` (empty: called in process)."""
        calls = f"{url}{'&' if '?' in url else '?'}fnId={quote(self.id, safe='')}&stepId={DISCOVERY}" if url else ""
        found = wire.FunctionConfig(
            id=self.id,
            name=self.name,
            url=calls,
            triggers=tuple(wire_trigger(self.fn_id, each) for each in self.triggers),
            retries=self.retries,
            cancel=tuple(
                wire.Cancel(event=each.event, condition=each.if_exp, timeout=_written(self.fn_id, each.timeout))
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


def _retries(fn_id: str, given: object) -> int:
    if given is None:
        return DEFAULT_RETRIES
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given <= MAX_RETRIES:
        raise ConfigError(f"function {fn_id!r} has retries={given!r:.60}: 0 to {MAX_RETRIES} are possible")
    return given


def _written(fn_id: str, timeout: Timeout | None) -> str | None:
    """A text stays as it is: it may be a date. Raises ``ConfigError``."""
    if timeout is None:
        return None
    try:
        if not isinstance(timeout, str):
            return timeout_text(timeout)
        parse_duration_or_date(timeout, 0)
    except (TypeError, ValueError) as problem:
        raise ConfigError(f"function {fn_id!r} has a cancel with a timeout that can not be read: {problem}") from None
    return timeout
