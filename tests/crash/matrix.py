"""The cells of the kill matrix: what falls where, and who takes part."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

from stepwell.testing.platform.crash_points import Crash
from tests.crash.matrix_checks import Fall, check
from tests.crash.matrix_places import Place, read
from tests.crash.matrix_processes import APP, WAIT_S, App, Server, until
from tests.crash.matrix_reader import Reader
from tests.crash.matrix_upstream import BODY, MatrixUpstream
from tests.crash.nursery import Nursery

LEASE_MS, BEAT_S, IDLE, WHOLE = 1_200, 0.1, "2s", "6s"
"""Of the process that falls: nobody has to wait for its claims longer than that."""


class Cell(NamedTuple):
    """What falls where. ``who``: the server alone, the app alone, or both in one process."""

    point: str
    how: str
    store: str
    who: str = "server"
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.point}-{self.how}-{self.store}-{self.who}"

    @property
    def signal(self) -> signal.Signals:
        return signal.Signals[self.how]

    @property
    def stalls(self) -> bool:
        return self.signal is signal.SIGSTOP

    @property
    def large(self) -> bool:
        return self.point.startswith(("piece", "chunk"))

    @property
    def events(self) -> list[dict[str, Any]]:
        """What is sent: two runs, or one of a large response."""
        return [{"name": "load"}] if self.large else [{"name": "work"}, {"name": "work"}]


class Scene:
    """One cell at work."""

    def __init__(self, cell: Cell, nursery: Nursery, folder: Path, place: Place, upstream: MatrixUpstream) -> None:
        self.cell = cell
        self.nursery = nursery
        self.folder = folder
        self.place = place
        self.upstream = upstream
        self.falls: list[Fall] = []
        self.logs: list[Path] = []
        self.apps: list[str] = []
        self._processes: list[Server | App] = []
        self.events = [
            {**event, "id": f"event-{n}", "data": {"upstream": upstream.url}} for n, event in enumerate(cell.events)
        ]
        self.reader: Reader | None = None
        self._accepted: set[str] = set()

    def crash(self, name: str, point: str = "", nth: int = 1, how: signal.Signals | None = None) -> Crash:
        """How a process falls that others take over from; as the cell says, where nothing else is said."""
        return Crash(
            point=point or self.cell.point,
            nth=nth if point else self.cell.nth,
            signal=how or self.cell.signal,
            told=str(self.folder / f"{name}.told"),
            lease_ms=LEASE_MS,
            beat_s=BEAT_S,
            idle=IDLE,
            whole=WHOLE,
        )

    def server(self, name: str, crash: Crash | None = None, **env: str) -> Server:
        """A server, started. One that does not fall looks often for what others have left."""
        patient = Crash(told=str(self.folder / f"{name}.told"), beat_s=BEAT_S, idle=IDLE, whole=WHOLE)
        made = Server(self.nursery, self.folder, name, self.place, crash or patient)
        inside = [str(APP)] if self.cell.who == "both" else []
        made.start(*inside, *(word for url in self.apps for word in ("-u", url)), **env)
        return self._known(made)

    async def successor(self, name: str) -> Server:
        """A server that goes on with everything; senders and readers turn to it."""
        made = self.server(name)
        await made.ready()
        await self.send(made)
        if self.reader is not None:
            self.reader.server = made
        return made

    def app(self, name: str, crash: Crash | None = None, port: int | None = None, platform: str = "") -> App:
        """An app behind HTTP, started. ``platform``: where it registers."""
        made = App(self.nursery, self.folder, name, crash)
        made.port = port or made.port
        made.start(platform)
        return self._known(made)

    def _known(self, made: Any) -> Any:
        self._processes.append(made)
        self.logs.append(made.log)
        return made

    async def send(self, server: Server) -> None:
        """Send what has not been accepted, as a sender does: under the same ids."""
        for event in self.events:
            if event["id"] not in self._accepted and await server.send(event):
                self._accepted.add(event["id"])

    async def leases_run_out(self) -> None:
        """Wait until nobody has one. Whoever has is dead, or stalls."""
        ((last_ms,),) = await self.place.rows("SELECT coalesce(max(expires_at), 0) FROM {s}owners")

        async def run_out() -> bool:
            return time.time() * 1000 > last_ms

        await until(run_out, self.logs)

    async def over(self, server: Server) -> None:
        """Wait until every run has ended."""

        async def ended() -> bool:
            found = await server.statuses()
            assert not {"failed", "cancelled"} & set(found.values()), found
            return len(found) == len(self.events) and set(found.values()) == {"completed"}

        await until(ended, self.logs)
        if self.reader is not None:
            assert await asyncio.wait_for(self.reader.whole, WAIT_S) == BODY
            assert self.reader.voids == len([fall for fall in self.falls if fall.claimed])

    async def check(self) -> None:
        """Once all processes have ended."""
        assert {event["id"] for event in self.events} == self._accepted
        check(await read(self.place), self.upstream, self.falls, self.events)

    def end(self) -> None:
        """Nobody is left."""
        for process in self._processes:
            process.signal(signal.SIGKILL)
        if self.reader is not None:
            self.reader.whole.cancel()


@contextlib.asynccontextmanager
async def scene(cell: Cell, nursery: Nursery, folder: Path, place: Place) -> AsyncIterator[Scene]:
    """A cell, its upstream, and nothing left of it at the end."""
    async with MatrixUpstream() as upstream:
        made = Scene(cell, nursery, folder, place, upstream)
        try:
            yield made
        finally:
            made.end()
