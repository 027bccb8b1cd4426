"""``ctx.group``: several steps at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from stepwell.sdk.drivers.threads import SyncRun

T = TypeVar("T")


class Group:
    """For ``async def`` functions; ``asyncio.gather`` and ``TaskGroup`` do as well."""

    async def parallel(self, callables: Sequence[Callable[[], Awaitable[T]]]) -> tuple[T, ...]:
        """Run step calls in parallel; their results in the order given. The first error is raised."""
        return tuple(await asyncio.gather(*(_call(callable_) for callable_ in callables)))


class GroupSync:
    """For ``def`` functions: the only way to steps in parallel there."""

    def __init__(self, run: SyncRun) -> None:
        self._run = run

    def parallel(self, callables: Sequence[Callable[[], T]]) -> tuple[T, ...]:
        """Run step calls in parallel; their results in the order given. The first error is raised.

        Each callable makes step calls; give steps in different callables ids of their own.
        """
        return self._run.parallel(callables)


async def _call(callable_: Callable[[], Awaitable[T]]) -> T:
    return await callable_()
