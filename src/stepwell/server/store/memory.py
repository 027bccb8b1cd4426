"""The store that defines what the verbs mean: plain dictionaries, nothing clever, the same answers every time."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from stepwell.core.flow.admission import State, idle_at, judge
from stepwell.core.flow.holding import Behind, Holding, holdings
from stepwell.core.model import Cancellation, Pause, Run, RunKey, RunView, Step, StoredEvent, Wait
from stepwell.core.outputs import Commit
from stepwell.core.runs import holds
from stepwell.server.store.base import (
    AppRecord,
    ClaimRequest,
    Counts,
    EventQuery,
    Old,
    Outcome,
    Prune,
    Pruned,
    RunQuery,
    Transacted,
    WaitQuery,
)
from stepwell.server.store.codec import build_view, contested, gone
from stepwell.server.store.lists import list_events, list_runs
from stepwell.server.store.memory_items import ItemTable
from stepwell.server.store.memory_prune import old_cancellations, old_events, old_keys, old_runs
from stepwell.server.store.memory_waits import WaitTable
from stepwell.server.store.memory_workers import WorkerTable
from stepwell.server.store.pruning import told


class MemoryStore(ItemTable, WorkerTable):
    """Keeps everything in this process; it outlives ``close`` and ``open``, not the process."""

    exclusive = True

    def __init__(self) -> None:
        super().__init__()
        self._runs: dict[str, Run] = {}
        self._steps: dict[str, dict[str, Step]] = {}
        self._events: dict[str, StoredEvent] = {}
        self._keys: dict[tuple[str, str], RunKey] = {}
        self._bodies: dict[str, bytes] = {}
        self._body_runs: dict[str, str] = {}
        """Run ids by the ref of a body."""
        self._apps: dict[str, AppRecord] = {}
        self._waits = WaitTable()
        self._admissions: dict[str, State] = {}
        self._keep_admissions = 256
        self._links: dict[str, set[str]] = {}
        """Run ids by the internal id of an event."""
        self._cancellations: dict[str, Cancellation] = {}
        self._pauses: dict[str, Pause] = {}

    async def open(self) -> None:
        """Forget the leases: whoever held claims, or led, is gone."""
        self._leases.clear()
        self._leader = None

    async def close(self) -> None:
        """Nothing to let go of."""

    async def transact(self, commits: Sequence[Commit], claim: ClaimRequest | None = None) -> Transacted:
        """See :meth:`Store.transact`."""
        outcomes = [self._commit(commit) for commit in commits]
        claimed = self._claim_items(claim) if claim else []
        if claim:
            self._forget_idle_admissions(claim.now)
        now = claim.now if claim else max((commit.now for commit in commits), default=None)
        return Transacted(outcomes, claimed, self._next_due(now))

    def _commit(self, commit: Commit) -> Outcome:
        refusal = self._refusal(commit)
        if refusal is not None:
            if commit.otherwise is not None:
                self._commit(commit.otherwise)
            return refusal
        passes, writes = judge(commit.admit, self._admissions.get, self._keep, commit.now)
        if passes:
            self._write(commit)
            self._write_items(commit)
            self._observe(commit)
        for following in (*writes, *(commit.more if passes else ())):
            self._commit(following)
        return Outcome.APPLIED if passes else Outcome.REFUSED

    def _keep(self, bucket: str, state: State | None) -> None:
        if state is None:
            self._admissions.pop(bucket, None)
        else:
            self._admissions[bucket] = state

    def _forget_idle_admissions(self, now: int) -> None:
        """When there are many."""
        if len(self._admissions) <= self._keep_admissions:
            return
        for bucket, state in list(self._admissions.items()):
            idle = idle_at(state)
            if idle is not None and idle <= now:
                del self._admissions[bucket]
        self._keep_admissions = 256 + 2 * len(self._admissions)

    def _refusal(self, commit: Commit) -> Outcome | None:
        key = commit.key
        if key is not None:
            stored = self._keys.get((key.function_id, key.key))
            if stored is not None and holds(stored, self._runs.get(stored.run_id or ""), commit.now):
                return Outcome.DUPLICATE
        if commit.waited is not None and commit.waited not in self._waits.names():
            return Outcome.REFUSED
        if any(self._held(ref) is None for ref in commit.done):
            return Outcome.CONFLICT
        if commit.needs is not None and commit.needs not in self._runs:
            return Outcome.CONFLICT
        if commit.run is not None:
            header = self._runs.get(commit.run.run_id)
            if (header.version if header else None) != commit.expected:
                return Outcome.CONFLICT
        if any(where not in self._waits for where in commit.take):
            return Outcome.CONFLICT
        return Outcome.CONFLICT if any(contested(wait, commit, self._waits.holder) for wait in commit.waits) else None

    def _write(self, commit: Commit) -> None:
        for event in commit.events:
            self._events.setdefault(event.internal_id, event)
        for key in (commit.key, *commit.keys) if commit.key is not None else commit.keys:
            self._keys[key.function_id, key.key] = key
        if commit.run is not None:
            if commit.run.run_id not in self._runs:
                self._link((event_id, commit.run.run_id) for event_id in commit.run.event_ids)
            self._runs[commit.run.run_id] = commit.run
        self._link(commit.links)
        for step in commit.steps:
            self._steps.setdefault(step.run_id, {})[step.step_id] = step
        for body in commit.bodies:
            self._bodies[body.ref], self._body_runs[body.ref] = body.data, body.run_id
        for claim in commit.keep:
            if claim in self._arriving:
                self._bodies[claim.body] = b"".join(self._arriving[claim].values())
                self._body_runs[claim.body] = claim.run_id
        for cancellation in commit.cancellations:
            self._cancellations[cancellation.cancellation_id] = cancellation
        for where in gone(commit):
            self._waits.drop(where)
        for wait in commit.waits:
            self._waits.put(wait, self._next_seq())

    def _link(self, links: Iterable[tuple[str, str]]) -> None:
        for event_id, run_id in links:
            self._links.setdefault(event_id, set()).add(run_id)

    async def load_runs(self, run_ids: Sequence[str]) -> list[RunView]:
        """See :meth:`Store.load_runs`."""
        return [self._view(self._runs[run_id]) for run_id in dict.fromkeys(run_ids) if run_id in self._runs]

    def _view(self, run: Run) -> RunView:
        events = [self._events[event_id].body for event_id in run.event_ids if event_id in self._events]
        return build_view(run, events, self._steps.get(run.run_id, {}).values())

    async def get_event(self, internal_id: str) -> StoredEvent | None:
        """See :meth:`Store.get_event`."""
        return self._events.get(internal_id)

    async def list_events(self, query: EventQuery) -> list[StoredEvent]:
        """See :meth:`Store.list_events`."""
        return list_events(self._events.values(), query)

    async def list_runs(self, query: RunQuery) -> list[Run]:
        """See :meth:`Store.list_runs`."""
        found = self._runs.values() if query.event_id is None else self._linked(query.event_id)
        return list_runs(found, query)

    async def prune(self, asked: Prune) -> Pruned:
        """See :meth:`Store.prune`."""
        if asked.what is Old.KEYS:
            seen, keys = old_keys(asked, self._keys.values(), self._runs)
            self._keys = {where: key for where, key in self._keys.items() if asked.dry or where not in keys}
            return told(asked, seen, len(keys))
        forget: Callable[[str], object]
        if asked.what is Old.RUNS:
            seen, gone = old_runs(asked, self._runs, self._items)
            forget = self._forget_run
        elif asked.what is Old.CANCELLATIONS:
            seen, gone = old_cancellations(asked, self._cancellations, self._items)
            forget = self._cancellations.pop
        else:
            needed = {event_id: [one for one in ids if one in self._runs] for event_id, ids in self._links.items()}
            seen, gone = old_events(asked, self._events.values(), needed, self._items)
            forget = self._forget_event
        for one in () if asked.dry else gone:
            forget(one)
        return told(asked, seen, len(gone))

    def _forget_run(self, run_id: str) -> None:
        del self._runs[run_id]
        self._steps.pop(run_id, None)
        for ref in [ref for ref, owner in self._body_runs.items() if owner == run_id]:
            del self._bodies[ref], self._body_runs[ref]

    def _forget_event(self, event_id: str) -> None:
        del self._events[event_id]
        self._links.pop(event_id, None)

    def _linked(self, event_id: str) -> list[Run]:
        return [self._runs[run_id] for run_id in self._links.get(event_id, ()) if run_id in self._runs]

    async def save_app(self, app: AppRecord) -> None:
        """See :meth:`Store.save_app`."""
        self._apps[app.app_id] = app

    async def load_apps(self) -> list[AppRecord]:
        """See :meth:`Store.load_apps`."""
        return [self._apps[app_id] for app_id in sorted(self._apps)]

    async def load_body(self, ref: str, start: int = 0, end: int | None = None) -> bytes | None:
        """See :meth:`Store.load_body`."""
        data = self._bodies.get(ref)
        return None if data is None else data[start:end]

    async def held(self, now: int, limit: int) -> list[Holding]:
        """See :meth:`Store.held`."""
        shut = [item for item in self._due(now) if self._shut(item, now) is not None]
        names = {run_id: run.function_id for run_id, run in self._runs.items()}
        groups = [Behind(1, [(item, names.get(item.run_id, ""))]) for item in shut]
        return holdings(groups, lambda item: self._shut(item, now), limit)

    async def find_waits(self, query: WaitQuery) -> list[Wait]:
        """See :meth:`Store.find_waits`."""
        if query.before is None:
            return self._waits.find(query, self._seq + 1)
        entry = self._items.get(query.before[0], {}).get(query.before[1])
        return self._waits.find(query, entry.seq) if entry is not None else []

    async def waited_places(self, name: str) -> list[Wait]:
        """See :meth:`Store.waited_places`."""
        return self._waits.places(name)

    async def find_signal(self, signal: str) -> Wait | None:
        """See :meth:`Store.find_signal`."""
        return self._waits.signal(signal)

    async def cancellations(self) -> list[Cancellation]:
        """See :meth:`Store.cancellations`."""
        return [self._cancellations[one] for one in sorted(self._cancellations, reverse=True)]

    async def drop_cancellation(self, cancellation_id: str) -> bool:
        """See :meth:`Store.drop_cancellation`."""
        return self._cancellations.pop(cancellation_id, None) is not None

    async def keys_of(self, function_id: str) -> list[str]:
        """See :meth:`Store.keys_of`."""
        return sorted(key for owner, key in self._keys if owner == function_id)

    async def pauses(self) -> list[Pause]:
        """See :meth:`Store.pauses`."""
        return [self._pauses[function_id] for function_id in sorted(self._pauses)]

    async def save_pause(self, pause: Pause) -> None:
        """See :meth:`Store.save_pause`."""
        self._pauses.setdefault(pause.function_id, pause)

    async def drop_pause(self, function_id: str) -> bool:
        """See :meth:`Store.drop_pause`."""
        return self._pauses.pop(function_id, None) is not None

    async def waiting_names(self) -> set[str]:
        """See :meth:`Store.waiting_names`."""
        return self._waits.names()

    async def counts(self) -> Counts:
        """See :meth:`Store.counts`."""
        runs = Counter(run.status.value for run in self._runs.values())
        queued = len(self._waiting)
        return Counts(dict(runs), queued, len(self._entries()) - queued)
