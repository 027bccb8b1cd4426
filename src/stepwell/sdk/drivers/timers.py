"""Timers that a function's own code sets: plain while the run is awake, durable steps once it is suspended."""

import asyncio
import functools
from collections.abc import Callable
from contextvars import Context, copy_context
from enum import Enum
from typing import TYPE_CHECKING, Any

from stepwell.sdk.drivers.places import Place, place
from stepwell.sdk.machine import Machine, StepCall
from stepwell.wire.durations import format_duration
from stepwell.wire.ops import Opcode

if TYPE_CHECKING:
    from stepwell.sdk.drivers.introspect import AnyFuture

SHORT_SLEEP_S = 1.0
"""A shorter ``asyncio.sleep`` is waited for; a longer one becomes durable when the run is suspended."""


class TimerKind(Enum):
    """What a timer is for; a library's own (keep-alive, flush) is never made durable."""

    SLEEP = "asyncio.sleep"
    TIMEOUT = "asyncio.timeout"
    LIBRARY = "library"


class RunTimer:
    """The handle of one timer. Has what callers of ``call_at`` and ``call_later`` use of a ``TimerHandle``."""

    __slots__ = ("_args", "_callback", "_context", "_live", "_timers", "_when", "call", "delay", "kind", "real")

    def __init__(self, timers: "Timers", when: float, delay: float, callback: Any, args: Any, context: Context) -> None:
        self._timers = timers
        self._when = when
        self.delay = delay
        self._callback = callback
        self._args = args
        self._context = context
        self._live = True
        self.kind = _kind(callback)
        self.call: StepCall | None = None
        """The step it has become."""
        self.real: asyncio.TimerHandle | None = None

    def when(self) -> float:
        """The loop's time at which it is due."""
        return self._when

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return not self._live

    def cancel(self) -> None:
        """Cancel it; one that has become a step abandons the step."""
        if self._live:
            self._live = False
            self._timers.forget(self)

    @property
    def sleeper(self) -> "AnyFuture | None":
        """The future that an ``asyncio.sleep`` waits for."""
        return self._args[0] if self.kind is TimerKind.SLEEP and self._args else None

    @property
    def durable(self) -> bool:
        """Whether it becomes a step when the run is suspended."""
        return self.kind is TimerKind.TIMEOUT or (self.kind is TimerKind.SLEEP and self.delay >= SHORT_SLEEP_S)

    def expire(self) -> None:
        """Its time has come by the clock. While a response is read along, what a replay would not see waits."""
        if not (self._timers.still and self.durable):
            self.fire()

    def fire(self) -> None:
        """Its time has come, by the clock or by the record."""
        if self._live:
            self._live = False
            self._timers.forget(self)
            self._context.run(self._call)

    def _call(self) -> None:
        scope: Any = getattr(self._callback, "__self__", None)
        if scope is not None and hasattr(scope, "_timeout_handle") and hasattr(scope, "deadline"):
            scope.deadline = (
                asyncio.get_running_loop().time()
            )  # anyio asks the clock again; this is its own way to say now
            return
        self._callback(*self._args)


class Timers:
    """The live timers of one execution."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._live: dict[RunTimer, None] = {}
        self.still = False
        """Whether time stands still: the function reads a response that is not on record yet."""
        self.sleeps: dict[Any, RunTimer] = {}
        """Timers of ``asyncio.sleep`` by the future that waits for them."""

    def add(
        self, plain: Callable[..., asyncio.TimerHandle], now: float, when: float, callback: Any, args: Any, context: Any
    ) -> RunTimer | None:
        """A new timer; None for one that is a library's own business."""
        timer = RunTimer(self, when, when - now, callback, args, context or copy_context())
        if timer.kind is TimerKind.LIBRARY:
            return None
        timer.real = plain(when, timer.expire)
        self._live[timer] = None
        if (future := timer.sleeper) is not None:
            self.sleeps[future] = timer
        return timer

    @property
    def idle(self) -> bool:
        """Whether no timer is set."""
        return not self._live

    def forget(self, timer: RunTimer) -> None:
        """The timer has fired or is cancelled."""
        self._live.pop(timer, None)
        if (future := timer.sleeper) is not None:
            self.sleeps.pop(future, None)
        if timer.real is not None:
            timer.real.cancel()
        if timer.call is not None:
            timer.call.waiter = None
            self._machine.abandon(timer.call)

    def suspend(self, now: float) -> list[tuple[RunTimer, bytes]]:
        """The run is suspended: pending timers become steps. Returns those whose time has come by the record already."""
        due: list[tuple[RunTimer, bytes]] = []
        for timer in [timer for timer in self._live if timer.call is None and timer.durable]:
            if timer.real is not None:
                timer.real.cancel()
            call = self._machine.make(timer.kind.value, Opcode.SLEEP, explicit=False)
            call.name = format_duration(max(0, round((timer.when() - now) * 1000)))
            call.waiter = timer
            timer.call = call
            memo = self._machine.find(call)
            if memo is not None:
                due.append((timer, memo))
        return due

    def close(self) -> None:
        """Cancel what the clock would still fire."""
        for timer in list(self._live):
            timer.cancel()


def _kind(callback: Any) -> TimerKind:
    while isinstance(callback, functools.partial):
        callback = callback.func  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if getattr(callback, "__name__", "") == "_set_result_unless_cancelled":
        return TimerKind.SLEEP
    module = str(getattr(callback, "__module__", ""))
    if module in {"asyncio.tasks", "asyncio.timeouts", "async_timeout"} or module.partition(".")[0] == "anyio":
        return TimerKind.TIMEOUT
    code = getattr(callback, "__code__", None)
    return TimerKind.TIMEOUT if code is not None and place(code) is Place.USER else TimerKind.LIBRARY
