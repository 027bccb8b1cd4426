"""Waiting until a run is suspended: everything that can go on by itself has gone on."""

import asyncio
from dataclasses import dataclass
from typing import Any

from stepwell.sdk.drivers import introspect
from stepwell.sdk.drivers.waits import Owned, Wait
from stepwell.sdk.scope import SCOPE, Scope

CALM = 3
"""Looks in a row that must agree where tasks wait for each other: the callbacks between them take a loop's turn each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long each kind of wait is waited for, in seconds, before found steps are reported all the same.

    ``idle``: nothing is known to wait for and nothing to report: then the run is stuck and fails.
    """

    unknown: float = 0.01
    library: float = 10.0
    real: float = 7200.0
    spinning: float = 0.1
    idle: float = 60.0


class Settler:
    """Watches the tasks of one execution. ``scope``: what its code belongs to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, owned: Owned, patience: Patience) -> None:
        self._loop = loop
        self._owned = owned
        self._limits = {
            Wait.EXPLAINED: 0.0,
            Wait.UNKNOWN: patience.unknown,
            Wait.INSIDE: patience.unknown,
            Wait.LIBRARY: patience.library,
            Wait.REAL: patience.real,
            Wait.RUNNING: patience.spinning,
        }
        self._wake: asyncio.Future[None] | None = None
        self.progress = 0
        """Counts what happens in the run; patience starts anew with each."""

    def stir(self) -> None:
        """Something happened in the run."""
        self.progress += 1
        wake = self._wake
        if wake is not None and not wake.done():
            wake.set_result(None)

    async def settle(self, final: bool, scope: Scope) -> Wait:
        """Return once the run is suspended, or patience has ended; what it still waits for then.

        Not ``final``: more completions are to be fed, so that no grace is given to what can not be explained.
        """
        calm, progress, since = 0, -1, self._loop.time()
        while True:
            await asyncio.sleep(0)
            wait = self._owned.look()
            if wait is Wait.EXPLAINED and not self._owned.active and self._is_over(calm, scope):
                return wait
            if self.progress != progress:
                progress, since, calm = self.progress, self._loop.time(), 0
            calm = 0 if wait is Wait.RUNNING else calm + 1
            if 0 < calm < CALM:
                continue
            limit = 0.0 if wait in (Wait.UNKNOWN, Wait.INSIDE) and not final else self._limits[wait]
            left = limit - (self._loop.time() - since)
            if left <= 0:
                return wait
            if wait is not Wait.RUNNING:
                await self.change(left)

    def coming(self, scope: Scope) -> list[object] | None:
        """What the execution's code has the loop call in its next turn; None where the loop does not show it."""
        queued = introspect.queued(self._loop)
        return None if queued is None else [call for call, context in queued if context.get(SCOPE) is scope]

    def _is_over(self, calm: int, scope: Scope) -> bool:
        """Whether nothing more comes. A loop that does not show it is given a turn, as most callbacks take no more."""
        coming = self.coming(scope)
        return calm > 0 if coming is None else not coming

    async def stays(self, wait: Wait, seconds: float) -> bool:
        """Whether the run stays as it is for so long; False as soon as something happens to it."""
        before, end = self.progress, self._loop.time() + seconds
        while (left := end - self._loop.time()) > 0:
            await self.change(min(left, 0.05) if wait is Wait.RUNNING else left)
            await asyncio.sleep(0)
            if self.progress != before or self._owned.look() > wait:
                return False
        return True

    async def change(self, seconds: float) -> None:
        """Wait until something happens to the run, at most ``seconds``."""
        wake = self._wake = self._loop.create_future()

        def done(_: Any = None) -> None:
            if not wake.done():
                wake.set_result(None)

        watched = self._owned.waiters()
        for future in watched:
            future.add_done_callback(done)
        timer = self._loop.call_later(seconds, done)
        try:
            await wake
        finally:
            self._wake = None
            timer.cancel()
            for future in watched:
                future.remove_done_callback(done)
