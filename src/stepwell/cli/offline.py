"""A database file without an engine: everything that can be read, and an error for the rest."""

from collections.abc import Sequence

from stepwell.core.flow.gates import Shut
from stepwell.core.flow.holding import Holding
from stepwell.core.model import Cancellation, Item, Run, RunView, StoredEvent
from stepwell.core.unstarted import Unstarted, found, place
from stepwell.server.clock import SystemClock
from stepwell.server.realtime.hub import Hub
from stepwell.server.runtime.syncs import AppState
from stepwell.server.store.base import AppRecord, Counts, EventQuery, RunQuery, Store, StoreError, WorkerRecord
from stepwell.server.streams import Streams
from stepwell.wire.events import IncomingEvent
from stepwell.wire.fetch import FetchResponse
from stepwell.wire.functions import FunctionConfig, Registration
from stepwell.wire.ops import Op

_NEEDS_ONE = "No platform runs on this database; start one with `stepwell dev`."


class OfflineCancellations:
    """Those that were asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, cancellation: Cancellation) -> None:
        """Needs an engine."""
        raise StoreError(_NEEDS_ONE)

    async def all(self) -> list[Cancellation]:
        """As they were left."""
        return await self._store.cancellations()

    async def drop(self, cancellation_id: str) -> bool:
        """Needs an engine."""
        raise StoreError(_NEEDS_ONE)


class OfflinePauses:
    """Nobody is connected, so nothing can be paused."""

    def since(self, function_id: str) -> int | None:
        """None."""
        return None

    async def pause(self, function_id: str, *, cancel_running: bool = False) -> Cancellation | None:
        """Needs an engine."""
        raise StoreError(_NEEDS_ONE)

    async def resume(self, function_id: str) -> bool:
        """Needs an engine."""
        raise StoreError(_NEEDS_ONE)


class OfflineEngine:
    """Answers the API's questions from the store alone."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._streams = Streams()
        self.realtime = Hub()
        self.cancelling = OfflineCancellations(store)
        self.pausing = OfflinePauses()

    @property
    def streams(self) -> Streams:
        """Nothing arrives."""
        return self._streams

    async def ingest(self, events: Sequence[IncomingEvent], ids: Sequence[str]) -> list[str]:
        """Needs an engine."""
        raise StoreError(_NEEDS_ONE)

    async def register(self, registration: Registration) -> tuple[bool, str]:
        """Needs an engine."""
        raise StoreError(_NEEDS_ONE)

    async def cancel(self, run_id: str) -> bool:
        """Needs an engine."""
        raise StoreError(_NEEDS_ONE)

    async def rerun(self, run_id: str, from_step: str | None, args: Sequence[object] | None) -> str | None:
        """Needs an engine."""
        raise StoreError(_NEEDS_ONE)

    async def jobs(self, run_id: str) -> list[Item]:
        """Work as it was left."""
        return await self._store.list_items(run_id)

    async def list_events(self, query: EventQuery) -> list[StoredEvent]:
        """Events."""
        return await self._store.list_events(query)

    async def signal(self, signal: str, data: bytes) -> str | None:
        """Needs an engine."""
        raise StoreError(_NEEDS_ONE)

    async def checkpoint(self, run_id: str, ops: Sequence[Op], generation: int) -> str:
        """Needs an engine."""
        raise StoreError(_NEEDS_ONE)

    async def called_back(self, run_id: str, step_id: str, response: FetchResponse) -> bool:
        """Needs an engine."""
        raise StoreError(_NEEDS_ONE)

    async def view(self, run_id: str) -> RunView | None:
        """A run as it was left."""
        views = await self._store.load_runs([run_id])
        return views[0] if views else None

    async def called_with(self, run_id: str) -> tuple[RunView, int] | None:
        """No call is in flight."""
        view = await self.view(run_id)
        return None if view is None else (view, len(view.stack))

    async def wait_run(self, run_id: str, timeout_s: float) -> RunView | None:
        """The same: nothing moves."""
        return await self.view(run_id)

    async def runs(self, query: RunQuery) -> list[Run]:
        """Run headers."""
        return await self._store.list_runs(query)

    async def unstarted(self, event_id: str) -> list[Unstarted]:
        """What an event did not start."""
        runs = await self._store.list_runs(RunQuery(event_id=event_id, limit=1_000))
        return found(await self._store.keys_of(place(event_id)), runs)

    async def event(self, internal_id: str) -> StoredEvent | None:
        """One event."""
        return await self._store.get_event(internal_id)

    async def body(self, ref: str, start: int, end: int | None) -> bytes | None:
        """A body."""
        return await self._store.load_body(ref, start, end)

    async def waits(self, run_id: str) -> dict[str, Shut]:
        """As it was left."""
        return await self._store.waits(run_id, SystemClock().now())

    async def workers(self) -> list[WorkerRecord]:
        """Those that have not said that they end."""
        return await self._store.workers()

    async def held(self, limit: int) -> list[Holding]:
        """As it was left."""
        return await self._store.held(SystemClock().now(), limit)

    async def counts(self) -> Counts:
        """Figures."""
        return await self._store.counts()

    def functions(self) -> list[FunctionConfig]:
        """None: nobody is connected."""
        return []

    def apps(self) -> list[AppRecord]:
        """None."""
        return []

    def strangers(self) -> list[AppState]:
        """None."""
        return []

    def new_ids(self, n: int) -> list[str]:
        """Needs an engine."""
        raise StoreError(_NEEDS_ONE)
