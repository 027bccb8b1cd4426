"""Those who send events and signals and cancel runs: they try again until somebody says that it is done."""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from stepwell.core import invariants
from stepwell.core.model import Cancellation
from stepwell.testing.platform.simulation.script import Send
from stepwell.wire.events import parse_events

if TYPE_CHECKING:
    from stepwell.testing.platform.simulation.process import Process
    from stepwell.testing.platform.simulation.world import World

_TRIES = 20
_RETRY_S = 2.0


class Clients:
    """All of them."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._waiting = 0
        self._accepted: list[tuple[str, str]] = []
        """Events that were accepted: event id, name."""

    @property
    def done(self) -> bool:
        """Whether nobody waits for an answer."""
        return not self._waiting

    def start(self) -> None:
        """Have each send its own at its time."""
        for place, send in enumerate(self._world.script.sends):
            self._waiting += 1
            self._world.loop.spawn(None, self._send(send, place))

    async def _send(self, send: Send, place: int) -> None:
        await asyncio.sleep(send.at / 1000)
        for _ in range(_TRIES):
            if await self._once(send, place):
                break
            await asyncio.sleep(_RETRY_S)
        self._waiting -= 1

    async def _once(self, send: Send, place: int) -> bool:
        if send.kind == "event":
            return await self.event(send.name, send.id or f"e{place}", send.n)
        self._world.note(send.kind, send.name, send.n)
        done = await self._world.asked(lambda process: self._ask(process, send))
        return done is not None

    async def _ask(self, process: "Process", send: Send) -> str:
        engine = process.engine
        runs = [run.run_id for run in self._world.store.runs()]
        if send.kind == "signal":
            await engine.signal(send.name, b"1")
        elif send.kind == "cancel_many":
            now, function = engine.now(), self._world.script.functions[0].id
            asked = Cancellation(
                cancellation_id=engine.new_id(), created_at=now, app_id="a", function_id=function, started_before=now
            )
            await engine.cancelling.add(asked)
        elif send.kind in ("pause", "resume"):
            await self._pause(process, send)
        elif runs and send.kind == "cancel":
            await engine.cancel(runs[send.n % len(runs)])
        elif runs and send.kind == "poke":
            await engine.poke(runs[send.n % len(runs)])
        return "done"

    async def _pause(self, process: "Process", send: Send) -> None:
        functions, pausing = self._world.script.functions, process.engine.pausing
        function_id = functions[send.n % len(functions)].id
        if send.kind == "resume":
            await pausing.resume(function_id)
        else:
            await pausing.pause(function_id, cancel_running=bool(send.name))

    async def event(self, name: str, event_id: str, n: int = 0) -> bool:
        """Send an event, with an id, so that it may be sent again; whether it was accepted."""
        self._world.note("event", name, event_id)
        body = msgspec.json.encode([{"name": name, "id": event_id, "data": {"n": n}}])

        async def ingest(process: "Process") -> str:
            events = parse_events(body, "application/json", process.engine.now())
            (internal_id,) = await process.engine.ingest(events, process.engine.new_ids(1))
            return internal_id

        accepted = await self._world.asked(ingest)
        if accepted is not None:
            self._accepted.append((event_id, name))
        return accepted is not None

    def unanswered(self) -> list[str]:
        """Events that were accepted and have not started what they should have."""
        store, found = self._world.store, list[str]()
        for event_id, name in self._accepted:
            listening = [function for function in self._world.script.functions if function.event == name]
            wanted = [one.id for one in listening if "rateLimit" not in one.settings]
            found += invariants.unanswered(event_id, store.started(event_id), wanted)
        return found
