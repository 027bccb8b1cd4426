"""An event loop whose time is virtual and whose order the seed decides, and processes on it that can be stopped."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

_T = TypeVar("_T")
_LATER = 0.1
"""How often a task that could go on lets others go first."""


class Standstill(RuntimeError):
    """Nothing will ever happen again: somebody waits for what nobody does."""


@dataclass(eq=False)
class Place:
    """Where code runs: a process. While it is stopped nothing of it runs; what became due meanwhile is parked."""

    name: str
    stopped: bool = False
    parked: list[Callable[[], object]] = field(default_factory=list[Callable[[], object]])

    def context(self) -> Context:
        """A context in which all that is started belongs to this process."""
        context = copy_context()
        context.run(_HERE.set, self)
        return context

    def go_on(self) -> None:
        """Run what is parked, in order, and all that comes."""
        self.stopped = False
        parked, self.parked = self.parked, []
        for again in parked:
            again()


_HERE: ContextVar[Place | None] = ContextVar("stepwell_simulated_process", default=None)


class _Skip(selectors.SelectSelector):
    """Waits for no file: where the loop would sleep, time goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Standstill("nothing will ever happen again, and somebody waits for it")
        self.now += max(0.0, timeout)
        return []


class SimLoop(asyncio.SelectorEventLoop):
    """Time passes only when nothing can be done. Tasks take turns in an order that ``rng`` decides; callbacks keep theirs."""

    def __init__(self, rng: Random) -> None:
        self._skip = _Skip()
        self._rng = rng
        self._kept: list[asyncio.Task[Any]] = []
        self.failed: Callable[[BaseException], None] = print
        super().__init__(self._skip)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._skip.now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        """As the loop's own; a task's turn may come later than that of tasks which were ready after it."""
        context = context or copy_context()
        if isinstance(getattr(callback, "__self__", None), asyncio.Task) and self._rng.random() < _LATER:
            return super().call_soon(self._soon, callback, args, context, context=context)
        return super().call_soon(self._turn, None, callback, args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        """As the loop's own, for processes that can be stopped."""
        cell: list[asyncio.TimerHandle] = []
        cell.append(super().call_at(when, self._turn, cell, callback, args, context=context))
        return cell[0]

    def create_task(self, coro: Any, **options: Any) -> Any:
        """As the loop's own. Tasks are kept: the garbage collector must not decide when those of the dead end."""
        task = super().create_task(coro, **options)
        self._kept.append(task)
        return task

    def spawn(self, place: Place | None, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Run it as part of a process; None: of the world around them."""
        context = copy_context()
        context.run(_HERE.set, place)
        task: asyncio.Task[_T] = self.create_task(work, context=context)
        if place is None:
            task.add_done_callback(self._look)
        return task

    def _look(self, task: asyncio.Task[Any]) -> None:
        """The world around the processes must not fail."""
        if not task.cancelled() and (problem := task.exception()) is not None:
            self.failed(problem)

    def finish(self) -> None:
        """End every task, and close."""
        self.set_exception_handler(_ignored)
        self.failed = lambda _: None
        for task in self._kept:
            task.cancel()
        left = [task for task in self._kept if not task.done()]
        if left:
            self.run_until_complete(asyncio.wait(left, timeout=60))
        self._kept.clear()
        self.close()

    def _soon(self, callback: Any, args: tuple[Any, ...], context: Context) -> None:
        super().call_soon(self._turn, None, callback, args, context=context)

    def _turn(self, cell: list[asyncio.TimerHandle] | None, callback: Any, args: tuple[Any, ...]) -> None:
        place = _HERE.get()
        if place is None or not place.stopped:
            callback(*args)
            return
        context = copy_context()

        def again() -> None:
            if not cell or not cell[0].cancelled():
                self.call_soon(callback, *args, context=context)

        place.parked.append(again)


def _ignored(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What comes of ending everything in the middle of its work."""
