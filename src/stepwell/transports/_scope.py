"""Where a request is made from, and so whether it becomes a step."""

from __future__ import annotations

from stepwell.errors import StepUsageError
from stepwell.sdk.scope import SCOPE, RunScope, StepBody
from stepwell.sdk.steps import Step
from stepwell.sdk.steps_sync import StepSync


def durable_step(*, plain_allowed: bool) -> Step | StepSync | None:
    """The tools of the run that the code belongs to; None where the request is a plain one.

    Raises ``StepUsageError`` where it would be a plain one and that is not allowed.
    """
    scope = SCOPE.get()
    if isinstance(scope, RunScope):
        return scope.step
    if plain_allowed:
        return None
    where = f"inside the step {scope.label!r}" if isinstance(scope, StepBody) else "outside of a run"
    raise StepUsageError(
        f"a request was made {where}, where it can not be durable, and fallback=None forbids a plain one: make it in a "
        "function, outside of step.run, or give the transport a fallback"
    )


def sync_step(*, plain_allowed: bool) -> StepSync | None:
    """The same for sync clients, which can not wait in an ``async def`` function. Raises ``StepUsageError``."""
    step = durable_step(plain_allowed=plain_allowed)
    if isinstance(step, Step):
        raise StepUsageError(
            "a sync client was used in an async function, where it would block the event loop: use the library's async "
            "client with AsyncDurableTransport, write the function with def, or make the request inside of step.run"
        )
    return step
