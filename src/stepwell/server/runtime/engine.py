"""The engine: puts store, committer, worker and registry together, and is what the API and the embedding code talk to."""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Sequence

from stepwell.core.flow.gates import Shut
from stepwell.core.flow.holding import Holding
from stepwell.core.flow.hosts import NO_RULES, HostRules
from stepwell.core.inputs import Env, Poked
from stepwell.core.model import Item, Run, RunStatus, RunView, StoredEvent
from stepwell.core.propagation import PassedOn
from stepwell.core.unstarted import Unstarted, found, place
from stepwell.server.caller.base import Caller
from stepwell.server.changes import Changes
from stepwell.server.clock import Clock, SystemClock
from stepwell.server.fetcher.base import Fetcher
from stepwell.server.realtime.hub import Hub
from stepwell.server.runtime.actors import Actors
from stepwell.server.runtime.afar import Afar
from stepwell.server.runtime.apps import Apps
from stepwell.server.runtime.arrivals import Arrivals
from stepwell.server.runtime.callbacks import CallBacks
from stepwell.server.runtime.cancelling import Cancelling
from stepwell.server.runtime.committer import Committer
from stepwell.server.runtime.crons import Crons
from stepwell.server.runtime.deliveries import Deliveries
from stepwell.server.runtime.election import Election
from stepwell.server.runtime.ends import Ends
from stepwell.server.runtime.gatherings import Gatherings
from stepwell.server.runtime.ids import Ids
from stepwell.server.runtime.leases import Leases
from stepwell.server.runtime.pausing import Pausing
from stepwell.server.runtime.peers import Peers, wait_ended
from stepwell.server.runtime.post import PeerPost
from stepwell.server.runtime.presence import About, Presence
from stepwell.server.runtime.recent import Recent
from stepwell.server.runtime.registry import Registry
from stepwell.server.runtime.retention import Retention
from stepwell.server.runtime.starter import Starter
from stepwell.server.runtime.syncs import AppState, Syncs
from stepwell.server.runtime.telling import Telling
from stepwell.server.runtime.waiting import Waiting
from stepwell.server.runtime.worker import Worker
from stepwell.server.store.base import (
    APPS,
    CANCELLATIONS,
    PAUSES,
    AppRecord,
    Counts,
    EventQuery,
    RunQuery,
    Store,
    WorkerRecord,
)
from stepwell.server.store.carrying import carrier_of
from stepwell.server.telemetry.observers import Observers
from stepwell.wire.events import IncomingEvent
from stepwell.wire.fetch import FetchResponse
from stepwell.wire.functions import FunctionConfig, Registration
from stepwell.wire.ops import Op

logger = logging.getLogger("stepwell.engine")


class Engine:
    """One engine on one store. All methods belong to the loop that called ``open``, then ``start``.

    ``crons``: whether runs start at the times of schedules. ``keep_ms``: see :class:`Retention`.
    """

    def __init__(
        self,
        store: Store,
        fetcher: Fetcher,
        http: Caller,
        *,
        clock: Clock | None = None,
        retry_interval_ms: int | None = None,
        capacity: int = 2_000,
        hosts: HostRules = NO_RULES,
        public_url: str = "",
        crons: bool = True,
        keep_ms: int | None = None,
    ) -> None:
        self.store = store
        self._recent = Recent()
        self._clock = clock or SystemClock()
        self._random = random.Random()  # noqa: S311 - jitter, no secret
        self._flat_retry_ms = retry_interval_ms
        self._hosts = hosts
        self._public_url = public_url
        self._ticking = crons
        self._stopping = False
        self._fetcher = fetcher
        self._http = http
        self.registry = Registry(http)
        self.syncs = Syncs()
        self._fresh = Ids(self._clock)
        owner = self.new_id()
        self._waiting = Waiting(store)
        self._post = PeerPost(self._clock, owner)
        self.changes = Changes(self._post)
        self._deliveries = Deliveries(store, self._clock)
        self.cancelling = Cancelling(store, self._clock)
        self.pausing = Pausing(store, self._clock, self.cancelling, self.new_id, self.registry.owner, self.changes.note)
        self._starter = Starter(self.registry, self._waiting, self.new_id, self.pausing.paused)
        self.worker = Worker(
            store, fetcher, self.registry, self._clock, self.new_id, self._deliveries, self.cancelling, capacity
        )
        self.streams = self.worker.streams
        self.realtime = Hub(self._post)
        self._afar = Afar(self.streams, self._post, time.monotonic)
        self.observers = Observers()
        self._committer = Committer(store, self._clock, owner, self.worker.room, self.worker.take, self.observers)
        self._actors = Actors(
            store,
            self._committer,
            self._env,
            self._ended,
            self._starter.with_consequences,
            changes=self.changes,
            observer=self.observers,
        )
        self._ends = Ends(self._post, self._actors)
        self.worker.actors = self._actors
        self.worker.committer = self._deliveries.committer = self.cancelling.committer = self._committer
        self._arrivals = Arrivals(
            self._env,
            self._starter,
            self._waiting,
            self._committer,
            self._actors,
            self._recent,
            self.changes,
            self.observers,
        )
        self._gatherings = Gatherings(store, self._starter, self._env)
        self.worker.gatherings = self._gatherings
        self._telling = Telling(store, self._env, self._starter, self._gatherings, self._actors, self._committer)
        self._called = CallBacks(self.view, self._telling, fetcher)
        self._leases = Leases(store, self._clock, owner, self._committer)
        self._presence = Presence(store, self._clock, owner, self._here)
        self.crons = Crons(self.registry.crons, self._clock, self._arrivals.tick, lambda: self.election.leads)
        self._apps = Apps(store, self.registry, self.crons, self._clock)
        self.election = Election(store, self._clock, owner, self.crons.refresh)
        self._retention = Retention(store, self._clock, keep_ms, lambda: self.election.leads)
        self._committer.seen = self._actors.seen
        reload = {APPS: self._apps.load, CANCELLATIONS: self.cancelling.load, PAUSES: self.pausing.load}
        self._peers = Peers(store, self._committer, reload)

    def propagate(self, propagation: PassedOn) -> None:
        """From now on send trace contexts as ``propagation`` says."""
        self.worker.propagation = self._starter.propagation = propagation

    # life

    async def open(self) -> None:
        """Open the store and read the apps. Events can not come in yet. Raises StoreError."""
        await self.store.open()
        await self._waiting.load()
        await self.cancelling.load()
        await self.pausing.load()
        await self._apps.load()
        self.crons.load()

    async def start(self) -> None:
        """Free what dead processes held, and begin to work. Raises StoreError."""
        freed = await self._leases.start()
        if freed:
            logger.info("took up %d work items of an earlier process", freed)
        await self.election.start()
        await self._presence.start()
        self._committer.start()
        carrier = None if self.store.exclusive else carrier_of(self.store)
        if carrier is not None:
            self.streams.afar = self._afar
            self._post.regularly.append(self._afar.tidy)
            self._post.start(carrier)
            self._ends.start()
        self._peers.start()
        if self._ticking:
            self.crons.start()
        self._retention.start()

    def _here(self) -> About:
        return About(self.registry.here(), self.worker.busy(), self.election.leads, self._stopping)

    async def drain(self, seconds: float = 30.0) -> bool:
        """Take no new work, let what is in flight end within ``seconds``, abort the rest. Whether all of it ended."""
        self._committer.claiming = False
        self._stopping = True
        drained = await self.worker.wait_idle(seconds)
        if not drained:
            await self.worker.abort()
        self._actors.decide()
        self.streams.close()
        self.changes.close()
        self.realtime.close()
        return drained

    async def close(self) -> None:
        """Write what was decided, and let go of everything. After ``drain``, or for a quick end without it."""
        self._committer.claiming = False
        await self.crons.stop()
        await self._retention.stop()
        await self.election.stop()
        await self._peers.stop()
        await self._afar.stop()
        await self._ends.stop()
        await self._post.stop()
        await self.worker.abort()
        self._actors.decide()
        await self._committer.stop()
        await self._leases.stop()
        await self._presence.stop()
        await self._fetcher.close()
        await self._http.close()
        await self.store.close()
        if self.observers:
            await asyncio.to_thread(self.observers.close)

    # events in

    async def ingest(self, events: Sequence[IncomingEvent], ids: Sequence[str]) -> list[str]:
        """Store the events and the runs that they start, in one transaction; the internal ids. Raises BadEvents, StoreError."""
        return await self._arrivals.ingest(events, ids)

    def new_id(self) -> str:
        """A fresh ULID, greater than every one before."""
        return self._fresh.new()

    def new_ids(self, n: int) -> list[str]:
        """Fresh ULIDs."""
        return [self.new_id() for _ in range(n)]

    # apps

    async def register(self, registration: Registration, caller: Caller | None = None) -> tuple[bool, str]:
        """Take over an app's functions; whether anything changed, and the app's UUID.

        Raises BadRegistration when an expression of a function can not be read, StoreError.
        """
        return await self._apps.register(registration, caller)

    def functions(self) -> list[FunctionConfig]:
        """Every function."""
        return self.registry.functions()

    def apps(self) -> list[AppRecord]:
        """Every app, and what keeps it from being synced now, as this process sees it."""
        return self.syncs.seen(self.registry.apps())

    def strangers(self) -> list[AppState]:
        """Every URL that is to be an app's and is not, with the reason."""
        return self.syncs.strangers(self.registry.apps())

    # runs

    async def view(self, run_id: str) -> RunView | None:
        """A run with its steps."""
        actor = self._actors.peek(run_id)
        if actor is not None and self.store.exclusive:
            return actor.view
        views = await self.store.load_runs([run_id])
        return views[0] if views else None

    async def called_with(self, run_id: str) -> tuple[RunView, int] | None:
        """A run, and how many entries of its stack belong to the call in flight."""
        view = await self.view(run_id)
        return None if view is None else (view, self._actors.carried(view))

    async def cancel(self, run_id: str) -> bool:
        """End the run now; False when it is unknown or has ended."""
        return await self._telling.cancel(run_id)

    async def rerun(
        self, run_id: str, from_step: str | None = None, args: Sequence[object] | None = None
    ) -> str | None:
        """Begin the run anew (``core.reruns``): the new run's id; None when it is unknown. Raises CannotRerun, StoreError."""
        old = await self.view(run_id)
        return None if old is None else await self._telling.rerun(old, from_step, args)

    async def jobs(self, run_id: str) -> list[Item]:
        """The work items of a run, by due time."""
        return await self.store.list_items(run_id)

    async def list_events(self, query: EventQuery) -> list[StoredEvent]:
        """Events, newest first."""
        return await self.store.list_events(query)

    async def poke(self, run_id: str) -> bool:
        """Have the app called for the run: it has found something new on its own."""
        return await self._telling.tell(run_id, Poked())

    async def called_back(self, run_id: str, step_id: str, response: FetchResponse) -> bool:
        """Record the request that a step waits for; False when it came too late. See :meth:`CallBacks.take`."""
        return await self._called.take(run_id, step_id, response)

    async def signal(self, signal: str, data: bytes) -> str | None:
        """Wake the step that waits for the signal, with JSON data; its run. None where none waits. Raises StoreError."""
        return await self._deliveries.signal(signal, data)

    async def checkpoint(self, run_id: str, ops: Sequence[Op], generation: int) -> str:
        """Record steps of a call in flight: "ok", "stale" (another call has taken over) or "unknown"."""
        return await self._telling.checkpoint(run_id, ops, generation)

    async def wait_run(self, run_id: str, timeout_s: float) -> RunView | None:
        """The run once it has ended, or as it is when time runs out."""
        actor = (await self._actors.get([run_id])).get(run_id)
        return None if actor is None else await wait_ended(actor, self.store, timeout_s)

    async def runs(self, query: RunQuery) -> list[Run]:
        """Run headers, newest first."""
        return await self.store.list_runs(query)

    async def runs_of(self, event_id: str) -> list[str]:
        """The ids of the runs that an event (internal id) started."""
        recent = self._recent.runs_of(event_id)
        if recent is not None:
            return recent
        return [run.run_id for run in await self.store.list_runs(RunQuery(event_id=event_id, limit=1_000))]

    def now(self) -> int:
        """The engine's time, milliseconds since the epoch."""
        return self._clock.now()

    async def unstarted(self, event_id: str) -> list[Unstarted]:
        """The functions that an event (internal id) did not start, though it would have, and why."""
        runs = await self.store.list_runs(RunQuery(event_id=event_id, limit=1_000))
        return found(await self.store.keys_of(place(event_id)), runs)

    async def event(self, internal_id: str) -> StoredEvent | None:
        """One event."""
        return await self.store.get_event(internal_id)

    async def body(self, ref: str, start: int = 0, end: int | None = None) -> bytes | None:
        """Part of a body that is kept beside a run's state."""
        return await self.store.load_body(ref, start, end)

    async def waits(self, run_id: str) -> dict[str, Shut]:
        """What holds back the work of a run right now, by item key: the step's id, or ``step`` for its next call."""
        return await self.store.waits(run_id, self._clock.now())

    async def workers(self) -> list[WorkerRecord]:
        """The processes of the platform, by id: also those whose beat has stopped."""
        return await self.store.workers()

    async def held(self, limit: int) -> list[Holding]:
        """What holds work back right now, the one with the most first, each with up to ``limit`` who wait."""
        return await self.store.held(self._clock.now(), limit)

    async def counts(self) -> Counts:
        """Figures for health."""
        return await self.store.counts()

    def _ended(self, run: Run) -> None:
        """A run that completed has told the app's side itself by returning."""
        route = self.registry.route(run.app_id, run.function_id)
        if route is not None and run.status is not RunStatus.COMPLETED:
            route[0].ended(run.run_id)

    def _env(self) -> Env:
        return Env(
            now=self._clock.now(),
            jitter=self._random.random(),
            flat_retry_ms=self._flat_retry_ms,
            hosts=self._hosts,
            public_url=self._public_url,
            secret=_secret,
        )


def _secret() -> str:
    return secrets.token_urlsafe(32)
