"""One simulation: processes, apps, clients and faults on one loop, until everything is over."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import msgspec

from stepwell.core.outputs import Commit
from stepwell.server.store.base import ClaimRequest, StoreError, Transacted
from stepwell.testing.platform.simulation.app import App
from stepwell.testing.platform.simulation.clients import Clients
from stepwell.testing.platform.simulation.faults import Faults
from stepwell.testing.platform.simulation.loop import SimLoop, Standstill
from stepwell.testing.platform.simulation.network import Calls, Fetches, Network, Upstream
from stepwell.testing.platform.simulation.paces import Claims, Paces
from stepwell.testing.platform.simulation.process import Ids, Process, SimClock, SimEngine
from stepwell.testing.platform.simulation.script import Script
from stepwell.testing.platform.simulation.stores import SharedStore, Way
from stepwell.wire.calls import Answer, CallRequest
from stepwell.wire.ops import Op

_PATIENCE_S = 1_800
"""After the last fault every run has ended within this time, or never will."""


@dataclass(slots=True)
class Report:
    """What came of a simulation. ``trace``: a hash of all that happened."""

    problems: list[str]
    trace: str
    runs: int = 0
    events: int = 0
    lines: list[str] = field(default_factory=list[str])


class World:
    """Everything there is. ``keep``: whether the trace is kept as text."""

    def __init__(self, script: Script, keep: bool = False) -> None:
        self.script = script
        self.rng = Random(f"world {script.seed}")  # noqa: S311 - no secret
        self.loop = SimLoop(self.rng)
        self.loop.failed = lambda problem: self.problem(f"the simulation failed: {problem!r}")
        self.report = Report([], "")
        self.failed = asyncio.Event()
        self.store = SharedStore(self.problem)
        self.network = Network(self.loop, self.rng)
        self.upstream = Upstream(script.functions, self.store, self.network, self.problem)
        self.paces = Paces(script, self.store, lambda: round(self.loop.time() * 1000), self.problem)
        self.clients = Clients(self)
        self.app = App(
            script.functions, self.store, self.tell, self.clients.event, self.problem, lambda: self.network.repeats
        )
        self.faults = Faults(self)
        self.processes: list[Process] = []
        self._ids = Ids()
        self._hash = hashlib.sha256()
        self._keep = keep

    def run(self) -> Report:
        """From the beginning to the end."""
        logger, watch = logging.getLogger("stepwell"), _Watch(self.problem)
        propagates, logger.propagate = logger.propagate, False
        logger.addHandler(watch)
        try:
            self.loop.run_until_complete(self.loop.spawn(None, self._life()))
        except Standstill as problem:
            self.problem(str(problem))
        finally:
            watch.off = True
            for process in (*self.faults.dead, *self.processes):
                process.way.ended = True
                process.place.go_on()
            self.loop.finish()
            logger.removeHandler(watch)
            logger.propagate = propagates
        self.report.trace = self._hash.hexdigest()
        self.report.runs = len(self.store.runs())
        return self.report

    def problem(self, sentence: str) -> None:
        """Something that must not be."""
        if sentence not in self.report.problems:
            self.note("problem", sentence)
            self.report.problems.append(sentence)
        self.failed.set()

    def note(self, *words: object) -> None:
        """A line of the trace."""
        line = f"{self.loop.time():.3f} " + " ".join(map(str, words))
        self._hash.update(line.encode() + b"\n")
        if self._keep:
            self.report.lines.append(line)

    # life

    async def _life(self) -> None:
        for number in range(self.script.processes):
            await self.begin(number)
        self.clients.start()
        self.faults.start()
        await self._until(self.script.until / 1000)
        if self.script.heals and not self.failed.is_set():
            await self._heal()

    async def _heal(self) -> None:
        """Nothing goes wrong any more: everything ends."""
        self.note("heals")
        await self.faults.heal()
        self.app.healthy = self.upstream.healthy = True
        end = self.loop.time() + _PATIENCE_S
        while self.loop.time() < end and not self.failed.is_set():
            if self.clients.done and self._over():
                break
            await self._until(1.0)
        else:
            self._still_going()
        for sentence in self.clients.unanswered():
            self.problem(sentence)

    def _over(self) -> bool:
        return not self.store.items() and all(run.status.ended for run in self.store.runs())

    def _still_going(self) -> None:
        if self.failed.is_set():
            return
        for run in self.store.runs():
            if not run.status.ended:
                items = msgspec.json.encode(self.store.stored(run.run_id).items).decode()
                self.problem(f"run {run.run_id} of {run.function_id} never ends: {items[:600]}")
        for item in self.store.items():
            self.problem(f"the item {item.kind.value} {item.run_id} {item.key} is never done")
        if not self.clients.done:
            self.problem("a client waits for ever")

    async def _until(self, seconds: float) -> None:
        """That much later, or once something is wrong."""
        try:
            async with asyncio.timeout(seconds):
                await self.failed.wait()
        except TimeoutError:
            pass

    # processes

    async def begin(self, number: int) -> None:
        """Start the ``number``-th process, in the place of one that is dead."""
        clock = SimClock(self.loop)
        claims = Claims()
        process: Process

        def saw(commits: Sequence[Commit], claim: ClaimRequest | None, found: Transacted) -> None:
            if claim is not None:
                claims.made(found.claimed, claim.now)
            claimed = [f"{item.run_id[-4:]}/{item.key}/{item.claim}" for item in found.claimed]
            if commits or claimed:
                self.note(process.name, [outcome.value for outcome in found.outcomes], claimed)

        way = Way(
            self.store,
            self.script.processes == 1,
            self.network.delay,
            lambda: self.faults.died(number),
            saw,
            lambda: self.rng.random() < 0.5,
        )

        def make() -> SimEngine:
            caller = Calls(self.network, self._called, lambda request: self.paces.called(claims, request))
            fetcher = Fetches(self.network, self.upstream, lambda request: self.paces.sent(claims, request))
            return SimEngine(self._ids, self.rng, way.as_store(), fetcher, caller, clock, self.paces.hosts)

        process = Process(f"p{number}", self.loop, clock, way, make)
        self.note("begins", process.name)
        if number < len(self.processes):
            self.faults.buried(self.processes[number])
            self.processes[number] = process
        else:
            self.processes.append(process)
        while not process.dead and not process.ready:
            try:
                await process.start(self.script.functions)
            except (StoreError, TimeoutError):
                await asyncio.sleep(1)

    def anyone(self) -> Process | None:
        """A process that can be asked; None when none can."""
        up = [process for process in self.processes if process.up]
        return self.rng.choice(up) if up else None

    async def _called(self, request: CallRequest) -> Answer:
        self.note("call", request.run_id[-4:], request.step_id, request.generation, request.current)
        answer = await self.app.call(request)
        self.note("answer", request.run_id[-4:], request.step_id, request.generation, answer.kind.value)
        return answer

    async def tell(self, run_id: str, ops: Sequence[Op], generation: int) -> str | None:
        """An app reports steps to any process, within its call."""
        return await self.asked(lambda process: process.engine.checkpoint(run_id, ops, generation))

    async def asked(self, work: "Callable[[Process], Awaitable[str | None]]") -> str | None:
        """What a process answered; None when there was none, or no answer."""
        process = self.anyone()
        if process is None:
            return None
        await self.network.delay()
        try:
            return await process.ask(_coroutine(work, process))
        except (TimeoutError, StoreError):
            return None


async def _coroutine(work: "Callable[[Process], Awaitable[str | None]]", process: Process) -> str | None:
    return await work(process)


class _Watch(logging.Handler):
    """What the platform logs as a defect of its own is a problem."""

    def __init__(self, problem: Callable[[str], None]) -> None:
        super().__init__()
        self.off = False
        self._problem = problem

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is not None and not self.off:
            self._problem(f"{record.getMessage()} ({record.exc_info[1]!r})")


def simulate(script: Script, keep: bool = False) -> Report:
    """Run a script."""
    return World(script, keep).run()
