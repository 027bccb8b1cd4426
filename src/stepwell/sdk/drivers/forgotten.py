"""Steps that were called without ``await``: they have not run, and no replay would run them, so the function is told."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from stepwell.errors import StepUsageError
from stepwell.sdk.failures import message_of

if TYPE_CHECKING:
    from stepwell.sdk.drivers.execution import Execution


def told(execution: Execution, error: BaseException | None) -> BaseException | None:
    """What the function raised (None: nothing), or what it forgot.

    An error counts as what comes of it where it speaks of a coroutine, such as "'coroutine' object has no attribute".
    """
    if not execution.unawaited or (error is not None and "coroutine" not in message_of(error)):
        return error
    labels = _forgotten(execution)
    if not labels:
        return error
    steps = ", ".join(map(repr, labels))
    problem = StepUsageError(f"the function did not await {steps}, so it has not run: write `await` before the call")
    problem.__cause__ = error
    return problem


def _forgotten(execution: Execution) -> list[str]:
    """The steps whose coroutines nobody has begun, and no task will; they are closed."""
    tasks = {task.get_coro() for task in (*execution.owned.active, *execution.owned.parked)}
    found: list[str] = []
    for call, coroutine in execution.unawaited.values():
        if coroutine not in tasks and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
            coroutine.close()
            found.append(call.label)
    execution.unawaited.clear()
    return found
