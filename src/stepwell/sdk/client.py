"""The client: an app's name, its functions, and the way to send events."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from stepwell.errors import ConfigError, SendEventsError, StepwellError
from stepwell.sdk import checks, realtime, sending, signals
from stepwell.sdk.admissions import Batch, Debounce, RateLimit, Singleton, read_admissions
from stepwell.sdk.chain import Chain, HookFailed, sending_chain
from stepwell.sdk.config import Config, read_config, read_level
from stepwell.sdk.events import Event, EventType
from stepwell.sdk.flow import Limits, Priority, Throttle, Timeouts
from stepwell.sdk.functions import Cancel, Function
from stepwell.sdk.generics import D
from stepwell.sdk.handlers import Handler
from stepwell.sdk.middleware import MakeMiddleware, SendEventsResult
from stepwell.sdk.scope import SCOPE, StepBody
from stepwell.sdk.texts import TextSource, gathered, opened
from stepwell.sdk.triggers import TriggerCron, TriggerEvent, read_triggers

if TYPE_CHECKING:
    from stepwell.sdk.handlers import Declare

SendOverride = Callable[[bytes], Awaitable[list[str]]]
SignalOverride = Callable[[bytes], Awaitable[str | None]]
T = TypeVar("T")

FAILED = "inngest/function.failed"
CANCELLED = "inngest/function.cancelled"
EventLike = Event[Any] | Mapping[str, Any]


class Client:
    """An app.

    Args:
        app_id: its name; function ids begin with it.
        is_production: False is dev mode (no signatures); default: ``STEPWELL_DEV``, else whether there is a signing key.
        api_base_url: where the platform's API is; default: ``STEPWELL_API_BASE_URL``, ``STEPWELL_BASE_URL``, port 8288.
        event_api_base_url: where events go; the same defaults.
        event_key: default ``STEPWELL_EVENT_KEY``.
        signing_key: default ``STEPWELL_SIGNING_KEY``.
        env: the environment's name, where the platform has several.
        logger: what ``ctx.logger`` writes to; default: one of the SDK's own, at the level of ``STEPWELL_LOG_LEVEL``.
        request_timeout: of each request to the platform: a ``timedelta`` or milliseconds.
        middleware: classes (or functions that make instances) whose hooks run around every call and every send.

    Each variable may be spelt ``INNGEST_*`` as well. They are read when they are needed first.
    """

    def __init__(
        self,
        app_id: str,
        *,
        app_version: str | None = None,
        is_production: bool | None = None,
        api_base_url: str | None = None,
        event_api_base_url: str | None = None,
        event_key: str | None = None,
        signing_key: str | None = None,
        env: str | None = None,
        logger: logging.Logger | None = None,
        middleware: Sequence[MakeMiddleware] = (),
        request_timeout: int | timedelta | None = None,
    ) -> None:
        self.app_id = checks.text("a client needs an app_id, the name of your app as a text", app_id)
        self.app_version = app_version
        self.logger = logger or _own_logger()
        self.middleware: tuple[MakeMiddleware, ...] = checks.middleware("the client", middleware)
        self.functions: list[Function[Any]] = []
        self._config: Config | None = None
        self._settings: dict[str, Any] = {
            "is_production": is_production,
            "api_base_url": api_base_url,
            "event_api_base_url": event_api_base_url,
            "event_key": event_key,
            "signing_key": signing_key,
            "env": env,
            "request_timeout": request_timeout,
        }
        self._send_override: SendOverride | None = None
        self._signal_override: SignalOverride | None = None
        self._realtime_override: realtime.Realtime | None = None

    def set_logger(self, logger: logging.Logger) -> None:
        """Have ``ctx.logger`` write to another one, also in functions that have been declared."""
        self.logger = logger

    def add_middleware(self, middleware: MakeMiddleware) -> None:
        """Have one more, inside of the others, also for functions that have been declared. Raises ``ConfigError``."""
        self.middleware = (*self.middleware, *checks.middleware("the client", [middleware]))

    @property
    def config(self) -> Config:
        """The settings in force. Raises ``ConfigError``."""
        if self._config is None:
            self._config = read_config(**self._settings)
        return self._config

    def create_function(
        self,
        *,
        fn_id: str,
        trigger: TriggerEvent[D] | EventType[D] | TriggerCron | Sequence[TriggerEvent[D] | EventType[D] | TriggerCron],
        name: str | None = None,
        retries: int | None = None,
        concurrency: Limits = None,
        run_concurrency: Limits = None,
        throttle: Throttle | None = None,
        priority: Priority | None = None,
        timeouts: Timeouts | None = None,
        fetch_throttle: Throttle | None = None,
        rate_limit: RateLimit | None = None,
        idempotency: str | None = None,
        debounce: Debounce | None = None,
        batch_events: Batch | None = None,
        singleton: Singleton | None = None,
        cancel: Sequence[Cancel] = (),
        on_failure: Handler | None = None,
        on_cancel: Handler | None = None,
        output_type: Any = None,
        middleware: Sequence[MakeMiddleware] = (),
    ) -> Declare[D]:
        """Declare a function of this app; a decorator.

        ``retries``: 0 to 20 tries after the first one of each step and of the function's own code; default 4. ``concurrency``
        counts the function's steps and requests, ``run_concurrency`` its runs from start to end; a number is a plain limit.
        ``throttle`` paces the starts of runs, ``fetch_throttle`` the requests of all of them. ``priority``: which runs go
        before others. ``timeouts``: when a run is cancelled. ``rate_limit``, ``idempotency`` (an expression: one run in 24
        hours for each of its values), ``debounce``, ``batch_events`` and ``singleton`` say which events start a run, and when.
        ``cancel``: events that end a run. Without a trigger (``[]``) the function can only be invoked. ``on_failure`` is a
        function of its own, ``<fn_id>-failure``, that runs when a run has failed: its event is ``inngest/function.failed``,
        with ``error``, ``event`` and ``run_id`` in the data; ``on_cancel`` likewise, ``<fn_id>-cancelled``, to clean up after
        one that was cancelled. ``output_type``: what ``step.invoke`` reads the result back as; default: the return
        annotation. ``middleware`` is the function's own, inside of the client's. Raises ``ConfigError``.
        """

        def decorate(handler: Handler) -> Function[Any]:
            triggers = read_triggers(fn_id, trigger)
            function = Function(
                self,
                handler,
                fn_id=fn_id,
                triggers=triggers,
                name=name,
                retries=retries,
                concurrency=concurrency,
                run_concurrency=run_concurrency,
                throttle=throttle,
                priority=priority,
                timeouts=timeouts,
                fetch_throttle=fetch_throttle,
                cancel=cancel,
                admissions=read_admissions(
                    fn_id,
                    rate_limit=rate_limit,
                    debounce=debounce,
                    batch_events=batch_events,
                    singleton=singleton,
                    idempotency=idempotency,
                ),
                output_type=output_type,
                middleware=middleware,
            )
            self._add(function)
            for hook, end, event in ((on_failure, "failure", FAILED), (on_cancel, "cancelled", CANCELLED)):
                if hook is not None:
                    ended = TriggerEvent(event, f"event.data.function_id == '{function.id}'")
                    shown, own = f"{function.name} ({end})", f"{fn_id}-{end}"
                    hooked = Function(self, hook, fn_id=own, name=shown, triggers=[ended], middleware=middleware)
                    self._add(hooked)
                    function.hooks.append(hooked)
            return function

        return decorate

    def _add(self, function: Function[Any]) -> None:
        if any(other.id == function.id for other in self.functions):
            raise ConfigError(
                f"there are two functions {function.fn_id!r} in the app {self.app_id!r}: give each its own fn_id"
            )
        self.functions.append(function)

    async def send(self, events: EventLike | Sequence[EventLike], *, skip_middleware: bool = False) -> list[str]:
        """Send events; the ids that the platform gave them. Retried, without doubling. Raises ``SendEventsError``."""
        try:
            return await self._send(events, None if skip_middleware else sending_chain(self.middleware, self))
        except HookFailed as failed:
            raise failed.error from failed.error.__cause__

    async def send_in_step(self, events: EventLike | Sequence[EventLike]) -> list[str]:
        """As :meth:`send`, through the middleware of the call that runs the step. Raises ``HookFailed``."""
        scope = SCOPE.get()
        return await self._send(events, scope.chain if isinstance(scope, StepBody) else None)

    async def _send(self, events: EventLike | Sequence[EventLike], chain: Chain | None) -> list[str]:
        if chain is None:
            body = sending.encode_events(events)
        else:
            copies = sending.Copies(events)
            await chain.before_send_events(copies.events)
            body = copies.encode()
        try:
            override = self._send_override
            ids = await (sending.send(self.config, body) if override is None else override(body))
        except SendEventsError as problem:
            if chain is not None:
                await chain.after_send_events(SendEventsResult(problem.ids, problem.message))
            raise
        if chain is not None:
            await chain.after_send_events(SendEventsResult(ids))
        return ids

    def send_sync(self, events: EventLike | Sequence[EventLike], *, skip_middleware: bool = False) -> list[str]:
        """As :meth:`send`, for code without an event loop."""
        return _blocking("send", self.send(events, skip_middleware=skip_middleware), SendEventsError)

    async def send_signal(self, signal: str, data: Any = None) -> str | None:
        """Wake the one step that waits for a signal, with JSON ``data``: the id of its run, None where no step waits.

        Raises ``StepwellError`` where the platform can not be asked.
        """
        body = signals.encode_signal(signal, data)
        if self._signal_override is not None:
            return await self._signal_override(body)
        return await signals.send(self.config, body)

    def send_signal_sync(self, signal: str, data: Any = None) -> str | None:
        """As :meth:`send_signal`, for code without an event loop."""
        return _blocking("send_signal", self.send_signal(signal, data), StepwellError)

    async def publish(self, channel: str, topic: str, data: Any, run_id: str | None = None) -> None:
        """Send JSON ``data`` to those who read the topic of the channel now; nobody hears it later.

        ``run_id``: the run that it is about. Raises ``ValueError``; ``StepwellError`` where the platform can not be asked.
        """
        await self._realtime.publish(realtime.published(channel, topic, data, run_id))

    def publish_sync(self, channel: str, topic: str, data: Any, run_id: str | None = None) -> None:
        """As :meth:`publish`, for code without an event loop."""
        _blocking("publish", self.publish(channel, topic, data, run_id), StepwellError)

    async def publish_stream(self, channel: str, topic: str, stream: TextSource, run_id: str | None = None) -> str:
        """Send a text to those who read the topic now, piece by piece as it comes from ``stream``; the whole of it.

        Raises as :meth:`publish`, and what ``stream`` raises.
        """
        realtime.check_place(channel, topic)
        taken: list[str] = []
        await self._realtime.stream(channel, topic, run_id, gathered(opened(stream), taken))
        return "".join(taken)

    def publish_stream_sync(self, channel: str, topic: str, stream: TextSource, run_id: str | None = None) -> str:
        """As :meth:`publish_stream`, for code without an event loop."""
        return _blocking("publish_stream", self.publish_stream(channel, topic, stream, run_id), StepwellError)

    async def realtime_token(self, channel: str, topics: Sequence[str]) -> str:
        """A token with which a front end can read the topics of a channel; it has to be used within a minute.

        Whoever has it can read them: ask first who wants it. Raises ``ValueError``; ``StepwellError`` where the platform can
        not be asked.
        """
        return await self._realtime.token(realtime.topics_of(channel, topics))

    def realtime_token_sync(self, channel: str, topics: Sequence[str]) -> str:
        """As :meth:`realtime_token`, for code without an event loop."""
        return _blocking("realtime_token", self.realtime_token(channel, topics), StepwellError)

    @property
    def _realtime(self) -> realtime.Realtime:
        override = self._realtime_override
        return realtime.OverHttp(self.config) if override is None else override


def _own_logger() -> logging.Logger:
    logger = logging.getLogger("stepwell.functions")
    level = read_level()
    if level is not None:
        logger.setLevel(level)
    return logger


def _blocking(name: str, work: Coroutine[Any, Any, T], error: type[StepwellError]) -> T:
    """Raises ``error`` where a loop runs."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    work.close()
    raise error(f"{name}_sync was called where an event loop runs, which it would block: await client.{name}(...)")
