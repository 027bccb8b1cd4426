"""What a task waits for that awaits a step."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from stepwell.sdk.machine import StepCall

if TYPE_CHECKING:
    from stepwell.sdk.drivers.execution import Execution


class StepFuture(asyncio.Future[bytes]):
    """What a task is parked on while its step has not ended. Cancelling it abandons the step, at once."""

    parked: tuple[Execution, asyncio.Task[Any], StepCall]

    def cancel(self, msg: Any = None) -> bool:
        """As of any future."""
        done = super().cancel(msg)
        if done:
            execution, task, call = self.parked
            call.waiter = None
            execution.unpark(task)
            execution.machine.abandon(call)
        return done

    def resolve(self, memo: bytes) -> None:
        """The step has ended."""
        if not self.done():
            self.set_result(memo)
            execution, task, _ = self.parked
            execution.unpark(task)
