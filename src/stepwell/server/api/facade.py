"""What the API asks of an engine. The engine implements it; tests bring an engine of their own."""

from collections.abc import Sequence
from typing import Protocol

from stepwell.core.flow.gates import Shut
from stepwell.core.flow.holding import Holding
from stepwell.core.model import Cancellation, Item, Run, RunView, StoredEvent
from stepwell.core.unstarted import Unstarted
from stepwell.server.realtime.hub import Hub
from stepwell.server.runtime.syncs import AppState
from stepwell.server.store.base import AppRecord, Counts, EventQuery, RunQuery, WorkerRecord
from stepwell.server.streams import Streams
from stepwell.wire.events import IncomingEvent
from stepwell.wire.fetch import FetchResponse
from stepwell.wire.functions import FunctionConfig, Registration
from stepwell.wire.ops import Op


class CancellationsFacade(Protocol):
    """Many runs ended at once."""

    async def add(self, cancellation: Cancellation) -> None:
        """Store it, and begin."""
        ...

    async def all(self) -> list[Cancellation]:
        """Every one, the newest first."""
        ...

    async def drop(self, cancellation_id: str) -> bool:
        """Forget it; False when it is unknown."""
        ...


class PausesFacade(Protocol):
    """Functions that start no runs for a while."""

    def since(self, function_id: str) -> int | None:
        """Since when (ms) a function is paused; None when it is not."""
        ...

    async def pause(self, function_id: str, *, cancel_running: bool = False) -> Cancellation | None:
        """Pause it; the cancellation that ends its runs where that is wanted. Raises LookupError when it is unknown."""
        ...

    async def resume(self, function_id: str) -> bool:
        """Let it start runs again; False when it was not paused."""
        ...


class EngineFacade(Protocol):
    """The engine, as the API sees it. Every verb may raise ``StoreError`` when the store can not do its work."""

    @property
    def streams(self) -> Streams:
        """The bodies that arrive right now."""
        ...

    @property
    def realtime(self) -> Hub:
        """Who subscribes to what."""
        ...

    @property
    def cancelling(self) -> CancellationsFacade:
        """Many runs ended at once."""
        ...

    @property
    def pausing(self) -> PausesFacade:
        """Functions that start no runs."""
        ...

    async def ingest(self, events: Sequence[IncomingEvent], ids: Sequence[str]) -> list[str]:
        """Accept events under the internal ULIDs ``ids``; they are durable when this returns. The ids, in order."""
        ...

    async def register(self, registration: Registration) -> tuple[bool, str]:
        """Take an app's functions over: whether that changed anything, and the app's UUID."""
        ...

    async def view(self, run_id: str) -> RunView | None:
        """A run with its events and steps."""
        ...

    async def called_with(self, run_id: str) -> tuple[RunView, int] | None:
        """A run, and how many entries of its stack the call names that is in flight; all when there is none."""
        ...

    async def cancel(self, run_id: str) -> bool:
        """End a run now. False when it is unknown or has ended already."""
        ...

    async def rerun(self, run_id: str, from_step: str | None, args: Sequence[object] | None) -> str | None:
        """Begin a run anew: the new one's id; None when it is unknown. Raises ``CannotRerun``."""
        ...

    async def jobs(self, run_id: str) -> list[Item]:
        """The work items of a run, by due time."""
        ...

    async def list_events(self, query: EventQuery) -> list[StoredEvent]:
        """Events, newest first."""
        ...

    async def signal(self, signal: str, data: bytes) -> str | None:
        """Wake the step that waits for a signal, with JSON data: its run. None where none waits."""
        ...

    async def checkpoint(self, run_id: str, ops: Sequence[Op], generation: int) -> str:
        """Record steps that an app reports while its call is in flight: ``ok``, ``stale`` or ``unknown``."""
        ...

    async def called_back(self, run_id: str, step_id: str, response: FetchResponse) -> bool:
        """Record the request of an upstream that a step waits for. False when it came too late."""
        ...

    async def runs(self, query: RunQuery) -> list[Run]:
        """Run headers, newest first."""
        ...

    async def unstarted(self, event_id: str) -> list[Unstarted]:
        """The functions that an event (internal id) did not start, though it would have, and why."""
        ...

    async def event(self, internal_id: str) -> StoredEvent | None:
        """One event."""
        ...

    async def body(self, ref: str, start: int, end: int | None) -> bytes | None:
        """Bytes ``start:end`` of a fetched body; None when there is no such body."""
        ...

    def functions(self) -> list[FunctionConfig]:
        """Every function that is registered."""
        ...

    def apps(self) -> list[AppRecord]:
        """Every app that has registered."""
        ...

    def strangers(self) -> list[AppState]:
        """Every URL that is to be an app's and is not, with the reason."""
        ...

    async def waits(self, run_id: str) -> dict[str, Shut]:
        """What holds back the work of a run right now, by item key: a step's id, or ``step`` for its next call."""
        ...

    async def workers(self) -> list[WorkerRecord]:
        """The processes of the platform, by id: also those whose beat has stopped."""
        ...

    async def held(self, limit: int) -> list[Holding]:
        """What holds work back right now, the one with the most first, each with up to ``limit`` who wait."""
        ...

    async def counts(self) -> Counts:
        """Figures for health."""
        ...

    async def wait_run(self, run_id: str, timeout_s: float) -> RunView | None:
        """The run as soon as it has ended, or as it is after ``timeout_s`` seconds; None when it is unknown."""
        ...

    def new_ids(self, n: int) -> list[str]:
        """``n`` new ULIDs, ascending."""
        ...
