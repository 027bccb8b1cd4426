"""The store that defines what the verbs mean: plain dictionaries, nothing clever, the same answers every time."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from stepwell.core.flow.admission import State, idle_at, judge
from stepwell.core.flow.gates import (
    WAKE_MS,
    FlowState,
    Gate,
    Shut,
    is_open,
    observe,
    opening,
    passing,
    shut_by,
    taken,
    wanted,
)
from stepwell.core.flow.holding import Behind, Holding, holdings
from stepwell.core.model import Cancellation, Item, ItemRef, Pause, Run, RunKey, RunView, Step, StoredEvent, Wait
from stepwell.core.outputs import Commit
from stepwell.core.runs import holds
from stepwell.server.store.base import (
    AppRecord,
    ClaimRequest,
    Counts,
    EventQuery,
    Old,
    Outcome,
    Piece,
    Prune,
    Pruned,
    RunQuery,
    Transacted,
    WaitQuery,
)
from stepwell.server.store.codec import build_view, gone, run_of
from stepwell.server.store.lists import list_events, list_runs
from stepwell.server.store.memory_prune import old_cancellations, old_events, old_keys, old_runs
from stepwell.server.store.memory_waits import WaitTable
from stepwell.server.store.memory_workers import WorkerTable
from stepwell.server.store.pruning import told

_Place = tuple[int, int, str, str]


@dataclass(slots=True)
class _Entry:
    """A stored item. ``seq`` is its place among items due at the same time; ``owner`` is who claimed it; ``gate``: all that
    has held it back so far."""

    item: Item
    seq: int
    owner: str | None = None
    gate: Gate | None = None

    @property
    def place(self) -> _Place:
        return (self.item.due_at, self.seq, self.item.run_id, self.item.key)

    @property
    def buckets(self) -> set[str]:
        return {limit.bucket for limit in self.item.limits}


class MemoryStore(WorkerTable):
    """Keeps everything in this process; it outlives ``close`` and ``open``, not the process."""

    exclusive = True

    def __init__(self) -> None:
        super().__init__()
        self._runs: dict[str, Run] = {}
        self._steps: dict[str, dict[str, Step]] = {}
        self._events: dict[str, StoredEvent] = {}
        self._keys: dict[tuple[str, str], RunKey] = {}
        self._items: dict[str, dict[str, _Entry]] = {}
        self._bodies: dict[str, bytes] = {}
        self._body_runs: dict[str, str] = {}
        """Run ids by the ref of a body."""
        self._arriving: dict[ItemRef, dict[int, bytes]] = {}
        self._apps: dict[str, AppRecord] = {}
        self._leases: dict[str, int] = {}
        self._used: Counter[str] = Counter()
        self._holds: dict[str, set[str]] = {}
        """Buckets in which runs hold a slot, by run id."""
        self._flows: dict[str, FlowState] = {}
        self._waits = WaitTable()
        self._admissions: dict[str, State] = {}
        self._keep_admissions = 256
        self._links: dict[str, set[str]] = {}
        """Run ids by the internal id of an event."""
        self._cancellations: dict[str, Cancellation] = {}
        self._pauses: dict[str, Pause] = {}
        self._waiting: list[_Place] = []
        """Places of the unclaimed items, sorted."""
        self._seq = 0
        self._claim = 0

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
            for seen in commit.observed:
                self._flow(seen.pace.bucket, observe(self._flows.get(seen.pace.bucket), seen, commit.now))
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

    def _flow(self, bucket: str, state: FlowState | None) -> None:
        if state is None:
            self._flows.pop(bucket, None)
        else:
            self._flows[bucket] = state

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
        return Outcome.CONFLICT if any(self._taken(wait, commit) for wait in commit.waits) else None

    def _taken(self, wait: Wait, commit: Commit) -> bool:
        """Whether somebody else waits for its signal, and goes on doing so."""
        if wait.signal is None or wait.replace:
            return False
        holder = self._waits.holder(wait.signal)
        return holder not in (None, (wait.run_id, wait.step_id), *gone(commit))

    def _held(self, ref: ItemRef) -> _Entry | None:
        entry = self._items.get(ref.run_id, {}).get(ref.key)
        return entry if entry and entry.owner is not None and entry.item.claim == ref.claim else None

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

    def _write_items(self, commit: Commit) -> None:
        for ref in commit.done:
            self._remove(ref.run_id, ref.key)
        run_id = run_of(commit)
        if commit.drop:
            for key in list(self._items.get(run_id, {})):
                self._remove(run_id, key)
            self._used.subtract(self._holds.pop(run_id, ()))
        for item in commit.put:
            old = self._remove(item.run_id, item.key)
            entry = _Entry(replace(item, claim=old.item.claim if old else 0), self._next_seq())
            self._items.setdefault(item.run_id, {})[item.key] = entry
            insort(self._waiting, entry.place)
        for key, attempt in commit.touch:
            entry = self._items.get(run_id, {}).get(key)
            if entry is not None:
                entry.item = replace(entry.item, attempt=attempt)

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _remove(self, run_id: str, key: str) -> _Entry | None:
        entry = self._items.get(run_id, {}).pop(key, None)
        if entry is not None:
            self._forget(entry)
            if not self._items[run_id]:
                del self._items[run_id]
        return entry

    def _forget(self, entry: _Entry) -> None:
        """Take an entry out of the queue, or out of the slots that it holds."""
        if entry.owner is None:
            del self._waiting[bisect_left(self._waiting, entry.place)]
        else:
            self._used.subtract(entry.buckets)
            self._arriving.pop(ItemRef(entry.item.run_id, entry.item.key, entry.item.claim), None)

    def _claim_items(self, request: ClaimRequest) -> list[Item]:
        claimed: list[tuple[_Entry, Item]] = []
        for due_at, _, run_id, key in self._waiting:
            if due_at > request.now or len(claimed) >= request.limit:
                break
            entry = self._items[run_id][key]
            if self._passes(entry, request.now):
                passed = () if entry.gate is None else passing(entry.gate, self._flows.get, request.now)
                self._pass(entry.item, request.now)
                self._claim += 1
                entry.item, entry.gate = replace(entry.item, claim=self._claim), None
                self._used.update(entry.buckets)
                claimed.append((entry, replace(entry.item, passed=passed)))
        for entry, _ in claimed:
            self._forget(entry)
            entry.owner = request.owner
        return [item for _, item in claimed]

    def _passes(self, entry: _Entry, now: int) -> bool:
        """Whether nothing holds it back. Behind a gate it is not looked at until all of that is open, or it expires."""
        expires, gate = entry.item.expires_at, entry.gate
        behind = gate is not None and not is_open(gate, self._used.__getitem__, self._flows.get, now)
        if behind and (expires is None or expires > now):
            return False
        shut = self._shut(entry.item, now)
        if shut is not None:
            entry.gate = (entry.gate or Gate()).joined(shut)
        return shut is None

    def _shut(self, item: Item, now: int) -> Shut | None:
        return shut_by(item, self._used.__getitem__, self._flows.get, now, self._holds.get(item.run_id, ()))

    def _pass(self, item: Item, now: int) -> None:
        taking = {limit.bucket for limit in wanted(item, self._holds.get(item.run_id, ()))}
        if taking:
            self._holds.setdefault(item.run_id, set()).update(taking)
            self._used.update(taking)
        if item.expires_at is None or item.expires_at > now:
            for pace in item.paces:
                self._flow(pace.bucket, taken(pace, self._flows.get(pace.bucket), now))

    def _next_due(self, now: int | None) -> int | None:
        if now is None:
            return None
        index = bisect_left(self._waiting, (now + 1, -1, "", ""))
        times = [self._waiting[index][0]] if index < len(self._waiting) else []
        held = [self._items[run_id][key].item for _, _, run_id, key in self._waiting[:index]]
        return min(times + [time for item in held for time in self._opens(item, now)], default=None)

    def _opens(self, item: Item, now: int) -> Iterator[int]:
        """When time alone will let a due item pass."""
        if item.expires_at is not None and item.expires_at > now:
            yield item.expires_at
        until = max((opening(pace, self._flows.get(pace.bucket), now)[0] for pace in item.paces), default=0)
        limits = (*item.limits, *wanted(item, self._holds.get(item.run_id, ())))
        if until > now and all(self._used[limit.bucket] < limit.limit for limit in limits):
            yield max(until, now + WAKE_MS)

    def _free(self, entry: _Entry) -> None:
        self._forget(entry)
        entry.owner = None
        insort(self._waiting, entry.place)

    async def load_runs(self, run_ids: Sequence[str]) -> list[RunView]:
        """See :meth:`Store.load_runs`."""
        return [self._view(self._runs[run_id]) for run_id in dict.fromkeys(run_ids) if run_id in self._runs]

    def _view(self, run: Run) -> RunView:
        events = [self._events[event_id].body for event_id in run.event_ids if event_id in self._events]
        return build_view(run, events, self._steps.get(run.run_id, {}).values())

    async def heartbeat(self, owner: str, expires_at: int) -> None:
        """See :meth:`Store.heartbeat`."""
        self._leases[owner] = expires_at

    async def rescue(self, now: int) -> int:
        """See :meth:`Store.rescue`."""
        self._leases = {owner: end for owner, end in self._leases.items() if end > now}
        lost = [e for e in self._entries() if e.owner is not None and e.owner not in self._leases]
        for entry in lost:
            self._free(entry)
            entry.item = replace(entry.item, rescues=entry.item.rescues + 1)
        return len(lost)

    async def release(self, refs: Sequence[ItemRef]) -> None:
        """See :meth:`Store.release`."""
        for ref in refs:
            entry = self._held(ref)
            if entry is not None:
                self._free(entry)

    def _entries(self) -> list[_Entry]:
        return [entry for entries in self._items.values() for entry in entries.values()]

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

    async def append_body(self, claim: ItemRef, start: int, data: Piece, *, last: bool = False) -> bool:
        """See :meth:`Store.append_body`."""
        if self._held(claim) is None:
            return False
        if start == 0:
            self._arriving[claim] = {}
        self._arriving[claim][start] = bytes(data() if callable(data) else data)
        return True

    async def list_items(self, run_id: str) -> list[Item]:
        """See :meth:`Store.list_items`."""
        entries = sorted(self._items.get(run_id, {}).values(), key=lambda entry: entry.place)
        return [entry.item for entry in entries]

    async def waits(self, run_id: str, now: int) -> dict[str, Shut]:
        """See :meth:`Store.waits`."""
        entries = [(key, entry) for key, entry in self._items.get(run_id, {}).items() if entry.owner is None]
        found = ((key, self._shut(entry.item, now)) for key, entry in entries if entry.item.due_at <= now)
        return {key: shut for key, shut in found if shut is not None}

    async def held(self, now: int, limit: int) -> list[Holding]:
        """See :meth:`Store.held`."""
        items = [self._items[run_id][key].item for due_at, _, run_id, key in self._waiting if due_at <= now]
        shut = [item for item in items if self._shut(item, now) is not None]
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
