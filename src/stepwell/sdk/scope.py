"""What the running code belongs to, found by context: a run, a step's body, or nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

from stepwell.errors import StepUsageError

if TYPE_CHECKING:
    from stepwell.sdk.chain import Chain
    from stepwell.sdk.steps import Step
    from stepwell.sdk.steps_sync import StepSync


class Scope:
    """What code can belong to. The base: nothing is owned, timers are plain."""

    __slots__ = ()

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """A task was created by code of this scope."""

    def timer(
        self,
        plain: Callable[..., Any],
        when: float,
        callback: Callable[..., object],
        args: Any,
        context: Context | None,
    ) -> Any:
        """A timer set by code of this scope, due at loop time ``when``; ``plain`` makes the loop's own. None: no opinion."""
        return None


class StepBody(Scope):
    """The code of a step's callable: plain code that must not call steps. ``chain``: the middleware of its call."""

    __slots__ = ("chain", "label")

    def __init__(self, label: str, chain: Chain | None = None) -> None:
        self.label = label
        self.chain = chain


class RunScope(Scope):
    """The code of a function's run. ``thread``: the one that may use its tools."""

    __slots__ = ("thread",)

    thread: int

    @property
    def step(self) -> Step | StepSync:
        """The tools of the run, made when they are asked for: whoever has them holds the run, and not the other way round."""
        raise NotImplementedError

    def check(self) -> None:
        """Raises ``StepUsageError`` unless the caller is code of this run, outside of its step bodies."""
        current = SCOPE.get()
        if current is self and threading.get_ident() == self.thread:
            return
        if isinstance(current, StepBody):
            raise StepUsageError(
                f"a step was called inside the step {current.label!r}: steps can not be nested; call it in the function, "
                "outside of step.run, or use a plain client inside"
            )
        raise StepUsageError(
            "a step was called outside of its run: from a thread, a task of another run or a background task. Call steps "
            "from the function's own code and the tasks that it creates"
        )


SCOPE: ContextVar[Scope | None] = ContextVar("stepwell_scope", default=None)
"""The scope of the running code."""

_NO_HEADERS: Mapping[str, str] = {}
TRACE: ContextVar[Mapping[str, str]] = ContextVar("stepwell_trace", default=_NO_HEADERS)
"""Headers of the trace context (``wire.traces``) of the call for which code runs: what it sends goes below that call."""


def forget() -> None:
    """Make the rest of this context belong to nothing."""
    SCOPE.set(None)
