"""Members of a gather whose steps have ended: the short way past them.

Most of hundreds of requests in a gather end so, where settling would take several of the loop's turns for each.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stepwell.sdk.drivers import introspect
from stepwell.sdk.drivers.parked import StepFuture
from stepwell.sdk.drivers.settle import CALM
from stepwell.sdk.machine import StepCall
from stepwell.wire.calls import CallRequest
from stepwell.wire.memos import is_plain_response, is_value
from stepwell.wire.ops import Opcode

if TYPE_CHECKING:
    from stepwell.sdk.drivers.execution import Execution

Member = tuple[str, bytes, StepFuture]
"""A step's hashed id, its memo, and what its task is parked on."""
_AT_ONCE = 32
"""Reading their results takes one turn of the loop, and others use the loop too."""


def member(execution: Execution, hashed: str) -> StepFuture | None:
    """What the task that waits for the step is parked on, where only a gather waits for the task."""
    call = execution.machine.pending.get(hashed)
    waiter = None if call is None else call.waiter
    if not isinstance(waiter, StepFuture) or not execution.timers.idle:
        return None
    return waiter if execution.owned.only_gathers(waiter.parked[1]) else None


def alike(execution: Execution, request: CallRequest) -> list[Member]:
    """The next completions of which no code of the function can tell that they come at once: two or more, or none.

    Each member is a step alone, and ends with a value: an error would let the function go on, and see which others have
    ended. The last completion is never one of them: what it wakes is settled.
    """
    found: list[Member] = []
    if execution.preview is not None:
        return found
    begun = len(execution.fed)
    for hashed in request.stack[begun : min(begun + _AT_ONCE, request.current - 1)]:
        memo = request.steps.get(hashed, b"null")
        waiter = member(execution, hashed)
        if waiter is None or not _gives_value(waiter.parked[2], memo):
            break
        found.append((hashed, memo, waiter))
    return found if len(found) > 1 else []


def _gives_value(call: StepCall, memo: bytes) -> bool:
    """Whether the step is a task of its own, and all that follows in it is a value."""
    return call.bare and (is_plain_response(memo) if call.op is Opcode.GATEWAY else is_value(memo))


async def pass_alike(execution: Execution, members: list[Member]) -> bool:
    """As :func:`passes`, for members that were found :func:`alike`."""
    await asyncio.sleep(0)
    return execution.timers.idle and execution.owned.passed([waiter.parked[1] for _, _, waiter in members])


async def passes(execution: Execution, waiter: StepFuture) -> bool:
    """Let its task go on: whether it has ended, and nothing else can go on by that. The next completion may be fed.

    A loop that does not show what the user's code calls next is given as many turns, with less to look at.
    """
    _, task, call = waiter.parked
    await asyncio.sleep(0)
    if not execution.timers.idle or not execution.owned.passed([task]):
        return False
    if call.bare:
        return True
    coming = execution.settler.coming(execution)
    if coming is not None:
        return all(introspect.gathers(callback) for callback in coming)
    for _ in range(CALM):
        await asyncio.sleep(0)
        if not execution.timers.idle or not execution.owned.gathering():
            return False
    return True
