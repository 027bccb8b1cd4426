"""``ctx.group``: several steps at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from stepwell.sdk.drivers.threads import SyncRun

T = TypeVar("T")


class ParallelMode(StrEnum):
    """When the function goes on after steps in parallel: once all of them have ended, or after each."""

    WAIT = "wait"
    RACE = "race"


Mode = ParallelMode | Literal["wait", "race"]


class Group:
    """For ``async def`` functions; ``asyncio.gather`` and ``TaskGroup`` do as well."""

    async def parallel(
        self, callables: Sequence[Callable[[], Awaitable[T]]], parallel_mode: Mode = ParallelMode.WAIT
    ) -> tuple[T, ...]:
        """Run step calls in parallel; their results in the order given. The first error is raised.

        ``parallel_mode`` makes no difference here: the steps of each callable go on by themselves. To go on with the first
        that ends, use ``asyncio.wait`` or ``asyncio.as_completed``.
        """
        _mode(parallel_mode)
        return tuple(await asyncio.gather(*(_call(callable_) for callable_ in callables)))


class GroupSync:
    """For ``def`` functions: the only way to steps in parallel there."""

    def __init__(self, run: SyncRun) -> None:
        self._run = run

    def parallel(self, callables: Sequence[Callable[[], T]], parallel_mode: Mode = ParallelMode.WAIT) -> tuple[T, ...]:
        """Run step calls in parallel; their results in the order given. The first error is raised.

        Each callable makes step calls; give steps in different callables ids of their own. Where a callable makes several
        calls, "wait" has the second one of each wait for the first ones of all, and with "race" it does not.
        """
        return self._run.parallel(
            [_checked(each) for each in callables], race=_mode(parallel_mode) is ParallelMode.RACE
        )


async def _call(callable_: Callable[[], Awaitable[T]]) -> T:
    return await _checked(callable_)()


def _checked(callable_: Callable[[], T]) -> Callable[[], T]:
    if not callable(callable_):  # users may err
        if asyncio.iscoroutine(callable_):
            callable_.close()
        raise TypeError(
            f"group.parallel takes functions that call steps, such as lambda: ctx.step.run(...), not {type(callable_).__name__}"
        )
    return callable_


def _mode(given: Mode) -> ParallelMode:
    if given not in tuple(ParallelMode):
        raise ValueError(f"parallel_mode is 'wait' or 'race', not {given!r}")
    return ParallelMode(given)
