"""Giving up a suspended execution: its root task first, then strays, never waiting for ever."""

import asyncio
import logging
from typing import Any

from stepwell.sdk.drivers.execution import Execution
from stepwell.sdk.drivers.introspect import disown
from stepwell.sdk.drivers.settle import Patience, Settler

GIVE_UP_S = 5.0
_log = logging.getLogger("stepwell")
_parked: set[asyncio.Task[Any]] = set()


async def give_up(execution: Execution, timeout: float = GIVE_UP_S) -> bool:
    """Take the execution down; step calls in its clean-up raise ``RunAbandoned``. Whether everything has ended.

    A clean-up that has not ended after ``timeout`` seconds is left alone with a logged warning.
    """
    execution.abandoned = execution.machine.closed = True
    execution.timers.close()
    loop = execution.loop
    end = loop.time() + timeout
    root = execution.root
    if root is not None and not root.done():
        root.cancel()
        await _clean_up(execution, root, timeout)
    cancelled: set[asyncio.Task[Any]] = set()
    while strays := _alive(execution):
        for task in strays - cancelled:
            if task is not root:
                task.cancel()
        cancelled |= strays
        left = end - loop.time()
        await asyncio.wait(strays, timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED)
        if left <= 0:
            break
    _forget(execution, root)
    ended = _park(execution)
    if ended and not execution.driving:
        execution.let_go()
    return ended


def parked() -> int:
    """How many tasks were left alone because their clean-up did not end."""
    return len(_parked)


async def _clean_up(execution: Execution, root: asyncio.Task[Any], timeout: float) -> None:
    """Wait until the root task has ended, or waits for tasks which wait for steps: those would never go on.

    A task group that is breaking off does not cancel its tasks a second time.
    """
    patience = Patience(unknown=timeout, library=timeout, real=timeout, spinning=timeout)
    settling = execution.loop.create_task(
        Settler(execution.loop, execution.owned, patience).settle(final=True, scope=execution)
    )
    await asyncio.wait([root, settling], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    settling.cancel()
    await asyncio.wait([settling])


def _alive(execution: Execution) -> set[asyncio.Task[Any]]:
    owned = execution.owned
    return {task for task in (*owned.active, *owned.parked) if not task.done()}


def _forget(execution: Execution, root: asyncio.Task[Any] | None) -> None:
    """Nobody asks for the outcome of given-up tasks: asyncio shall not complain that nobody did."""
    for task in {root, *execution.owned.active, *execution.owned.parked}:
        if task is not None and task.done() and not task.cancelled():
            task.exception()


def _park(execution: Execution) -> bool:
    strays = _alive(execution)
    for task in strays:
        _parked.add(task)
        disown(task)
        task.add_done_callback(_unpark)
    if strays:
        _log.warning(
            "%s: the clean-up of a given-up execution of run %s has not ended; it is left alone. Look for code that catches "
            "CancelledError or BaseException around a step and goes on.",
            execution.function.id,
            execution.run_id,
        )
    return not strays


def _unpark(task: asyncio.Task[Any]) -> None:
    _parked.discard(task)
    if not task.cancelled():
        task.exception()
