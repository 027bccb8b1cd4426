"""Starts runs at the times of their crons, in the process that leads; the key of a tick lets it have one, whoever else does."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from stepwell.core.cron import LATE_MS, Agenda, Cron, Tick
from stepwell.server.clock import Clock
from stepwell.server.runtime.loops import end, survived

_LOOK_S = 10.0
"""The clock is looked at this often: it may be set, and stands still in a sleeping machine for the timers of a loop."""
_RETRY_S = 1.0

Fire = Callable[[Sequence[tuple[Cron, Tick]]], Awaitable[None]]


class Crons:
    """One loop that sleeps until the next tick of all. ``crons``: those there are, and since when (ms).

    ``leads``: whether this process is the one to start them. While it is not it sees to no tick: when it becomes the one, it
    starts those that the one before may not have come to, of the last minute (``core.cron.LATE_MS``).
    """

    def __init__(
        self, crons: Callable[[], Mapping[Cron, int]], clock: Clock, fire: Fire, leads: Callable[[], bool]
    ) -> None:
        self._crons = crons
        self._clock = clock
        self._fire = fire
        self._leads = leads
        self._agenda = Agenda()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def load(self) -> None:
        """Before apps are synced anew: a tick that came while no process was there, a moment ago, is still to be fired."""
        self._agenda.update({cron: max(since, self._clock.now() - LATE_MS) for cron, since in self._crons().items()})

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="stepwell-crons")

    async def stop(self) -> None:
        """End the loop."""
        if self._task is not None:
            await end([self._task])

    def refresh(self) -> None:
        """The functions have changed, or the clock, or this process leads now."""
        self._changed.set()

    async def _run(self) -> None:
        while True:
            with survived("crons could not be started"):
                await self._cycle()
                continue
            await asyncio.sleep(_RETRY_S)

    async def _cycle(self) -> None:
        """Fire what is due, and sleep. What could not be stored is still due. Raises StoreError."""
        self._changed.clear()
        self._agenda.update(self._crons())
        if self._leads():
            now = self._clock.now()
            due = self._agenda.due(now)
            if due:
                await self._fire(due)
            self._agenda.passed(now)
        await self._sleep()

    async def _sleep(self) -> None:
        """Until the next tick, or until something changes."""
        following = self._agenda.next_at() if self._leads() else None
        wait = None if following is None else min(_LOOK_S, max(0, following - self._clock.now()) / 1000)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), wait)
