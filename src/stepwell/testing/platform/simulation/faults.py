"""What goes wrong, when the script says so; and how it is put right."""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from stepwell.server.store.base import StoreError
from stepwell.testing.platform.simulation.process import Process
from stepwell.testing.platform.simulation.script import Fault

if TYPE_CHECKING:
    from stepwell.testing.platform.simulation.world import World

_RESTART_S = 0.5
_ON_THE_WAY = frozenset({"lost", "late", "twice", "unanswered"})


class Faults:
    """All of them. The dead are kept to the end."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._over = False
        self.dead: list[Process] = []
        """Those whose place others have taken."""

    def start(self) -> None:
        """Have each happen at its time."""
        for fault in self._world.script.faults:
            self._world.loop.spawn(None, self._happen(fault))

    async def heal(self) -> None:
        """Nothing goes wrong from here on: who stands still goes on, the clocks stay as they are."""
        self._over = True
        self._world.network.troubles.clear()
        for process in self._world.processes:
            process.way.refuses, process.way.silent, process.way.kill = False, False, None
            if process.place.stopped and not process.dead:
                process.place.go_on()

    def died(self, number: int) -> None:
        """The process has died: another one takes its place soon."""
        process = self._world.processes[number]
        self._world.note("dies", process.name)
        process.kill()
        self._world.loop.spawn(None, self._again(number))

    def buried(self, process: Process) -> None:
        """Nothing of the dead is forgotten before the end."""
        self.dead.append(process)

    async def _again(self, number: int) -> None:
        await asyncio.sleep(_RESTART_S)
        await self._world.begin(number)

    async def _happen(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at / 1000)
        number = fault.n % len(self._world.processes)
        process = self._world.processes[number]
        if self._over or process.dead or not process.ready:
            return
        self._world.note("fault", fault.kind, fault.ms, process.name)
        if fault.kind in _ON_THE_WAY:
            await self._troubled(fault)
        elif fault.kind in ("before", "after"):
            process.way.kill = fault.kind
        elif fault.kind == "stop":
            await self._stopped(process, number)
        elif fault.kind == "jump":
            process.clock.ahead_ms += fault.ms
        elif fault.kind == "refuse":
            process.way.refuses = True
            await asyncio.sleep(abs(fault.ms) / 1000)
            process.way.refuses = False
        elif fault.kind == "silent":
            process.way.silent = True
            await asyncio.sleep(abs(fault.ms) / 1000)
            process.way.silent = False
        else:
            process.place.stopped = True
            await asyncio.sleep(abs(fault.ms) / 1000)
            if process.place.stopped and not process.dead:
                process.place.go_on()

    async def _troubled(self, fault: Fault) -> None:
        troubles = self._world.network.troubles
        troubles[fault.kind] += 1
        await asyncio.sleep(abs(fault.ms) / 1000)
        if not self._over:
            troubles[fault.kind] -= 1

    async def _stopped(self, process: Process, number: int) -> None:
        """One that dies or stalls over it is killed."""
        with contextlib.suppress(TimeoutError, StoreError):
            await process.stop()
        if not process.dead:
            process.kill()
        if self._world.processes[number] is process:
            await self._again(number)
