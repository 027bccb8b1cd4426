"""Decides a whole transaction before its first write: outcomes commit by commit, then the rows that remain, merged.

What a commit is checked against is read once for all of them; the effect of one on the next is followed here. So
nothing has to be undone, and a header that ten commits of the batch change is written once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from stepwell.core.flow.admission import State, judge
from stepwell.core.flow.gates import observe
from stepwell.core.model import Body, Cancellation, Item, ItemRef, Run, RunKey, Step, StoredEvent
from stepwell.core.outputs import Commit
from stepwell.core.runs import holds
from stepwell.server.store.base import Outcome
from stepwell.server.store.codec import gone, run_of
from stepwell.server.store.ledger import Draft, Held, ItemKey
from stepwell.server.store.wait_plan import WaitPlan


@dataclass(slots=True)
class Known:
    """What is stored, of what the commits ask about: run versions; waits; keys, with the runs that they name; admission
    buckets."""

    waits: WaitPlan
    versions: dict[str, int] = field(default_factory=dict[str, int])
    keys: dict[tuple[str, str], RunKey] = field(default_factory=dict[tuple[str, str], RunKey])
    holders: dict[str, Run] = field(default_factory=dict[str, Run])
    admissions: dict[str, State] = field(default_factory=dict[str, State])


@dataclass(slots=True)
class Put:
    """An item to store: unclaimed, claimed at once (``owner``), or parked behind a limit (``gate``)."""

    seq: int
    item: Item
    attempt: int
    claim: int = 0
    owner: str | None = None
    gate: str | None = None


@dataclass(slots=True)
class Plan:
    """The writes of one transaction. ``drops`` and ``deleted`` come before ``puts``, ``touched`` after."""

    draft: Draft
    known: Known
    now: int = 0
    """The newest of the commits."""
    admissions: dict[str, State | None] = field(default_factory=dict[str, State | None])
    """None: to be deleted."""
    events: dict[str, StoredEvent] = field(default_factory=dict[str, StoredEvent])
    keys: dict[tuple[str, str], RunKey] = field(default_factory=dict[tuple[str, str], RunKey])
    runs: dict[str, Run] = field(default_factory=dict[str, Run])
    links: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    steps: dict[tuple[str, str], Step] = field(default_factory=dict[tuple[str, str], Step])
    cancellations: list[Cancellation] = field(default_factory=list[Cancellation])
    bodies: dict[str, Body] = field(default_factory=dict[str, Body])
    drops: set[str] = field(default_factory=set[str])
    deleted: list[int] = field(default_factory=list[int])
    puts: dict[ItemKey, Put] = field(default_factory=dict[ItemKey, Put])
    touched: dict[ItemKey, int] = field(default_factory=dict[ItemKey, int])
    claimed: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """(seq, claim) of stored items."""
    parked: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    """(gate, seq) of stored items."""

    def admit(self, commit: Commit) -> Outcome:
        """Check a commit against the store and the commits before it; take over its writes if it passes."""
        refusal = self._refusal(commit)
        if refusal is not None:
            if commit.otherwise is not None:
                self.admit(commit.otherwise)
            return refusal
        if not commit.admit:
            self._take(commit)
            return Outcome.APPLIED
        passes, writes = judge(commit.admit, self._admission, self.admissions.__setitem__, commit.now)
        self.now = max(self.now, commit.now)
        if passes:
            self._take(commit, *writes)
            return Outcome.APPLIED
        for following in writes:
            self.admit(following)
        return Outcome.REFUSED

    def _take(self, commit: Commit, *before: Commit) -> None:
        self._take_state(commit)
        self._take_items(commit)
        for seen in commit.observed:
            bucket = seen.pace.bucket
            self.draft.set_flow(bucket, observe(self.draft.flow(bucket), seen, commit.now))
        for following in (*before, *commit.more):
            self.admit(following)

    def _admission(self, bucket: str) -> State | None:
        return self.admissions[bucket] if bucket in self.admissions else self.known.admissions.get(bucket)

    def _refusal(self, commit: Commit) -> Outcome | None:
        key = commit.key
        if key is not None and self._holds(key, commit.now):
            return Outcome.DUPLICATE
        if commit.waited is not None and commit.waited not in self.known.waits.names:
            return Outcome.REFUSED
        if any(self._claim(ref) is None for ref in commit.done):
            return Outcome.CONFLICT
        if commit.run is not None and self.known.versions.get(commit.run.run_id) != commit.expected:
            return Outcome.CONFLICT
        if commit.needs is not None and commit.needs not in self.known.versions:
            return Outcome.CONFLICT
        return None if self.known.waits.allow(commit) else Outcome.CONFLICT

    def _holds(self, key: RunKey, now: int) -> bool:
        stored = self.known.keys.get((key.function_id, key.key))
        if stored is None:
            return False
        run_id = stored.run_id or ""
        return holds(stored, self.runs.get(run_id) or self.known.holders.get(run_id), now)

    def _claim(self, ref: ItemRef) -> Held | None:
        held = self.draft.held((ref.run_id, ref.key))
        return held if held is not None and held.claim == ref.claim else None

    def _take_state(self, commit: Commit) -> None:
        for event in commit.events:
            self.events.setdefault(event.internal_id, event)
        if commit.key is not None:
            self._take_key(commit.key)
        for key in commit.keys:
            self._take_key(key)
        self.links.extend(commit.links)
        if commit.run is not None:
            self._take_run(commit.run)
        for step in commit.steps:
            self.steps[step.run_id, step.step_id] = step
        for body in commit.bodies:
            self.bodies[body.ref] = body
        self.draft.kept.update(commit.keep)
        self.cancellations += commit.cancellations
        for where in gone(commit):
            self.known.waits.drop(where)
        for wait in commit.waits:
            self.known.waits.put(wait, self.draft.next_seq())

    def _take_key(self, key: RunKey) -> None:
        where = (key.function_id, key.key)
        self.keys[where] = self.known.keys[where] = key

    def _take_run(self, run: Run) -> None:
        if run.run_id not in self.known.versions:
            self.links.extend((event_id, run.run_id) for event_id in run.event_ids)
        self.known.versions[run.run_id] = run.version
        self.runs[run.run_id] = run

    def _take_items(self, commit: Commit) -> None:
        for ref in commit.done:
            self._delete((ref.run_id, ref.key))
        run_id = run_of(commit)
        if commit.drop:
            self._drop(run_id)
        for item in commit.put:
            self._put(item)
        for key, attempt in commit.touch:
            self._touch((run_id, key), attempt)

    def _delete(self, where: ItemKey) -> None:
        held = self.draft.held(where)
        if held is not None:
            self.draft.free(where, held)
            self.deleted.append(held.seq)
            self.touched.pop(where, None)

    def _drop(self, run_id: str) -> None:
        for key in self.draft.held_of(run_id):
            self._delete((run_id, key))
        for where in [where for where in self.puts if where[0] == run_id]:
            del self.puts[where]
        for where in [where for where in self.touched if where[0] == run_id]:
            del self.touched[where]
        self.draft.release(run_id)
        self.drops.add(run_id)

    def _put(self, item: Item) -> None:
        where = (item.run_id, item.key)
        held = self.draft.held(where)
        if held is not None:
            self.draft.free(where, held)
        self.puts.pop(where, None)
        self.touched.pop(where, None)
        self.puts[where] = Put(self.draft.next_seq(), item, item.attempt)

    def _touch(self, where: ItemKey, attempt: int) -> None:
        put = self.puts.get(where)
        if put is not None:
            put.attempt = attempt
        else:
            self.touched[where] = attempt

    def attempt_of(self, where: ItemKey, stored: int) -> int:
        """The attempt number of a stored item after this transaction."""
        return self.touched.get(where, stored)

    def replaces(self, where: ItemKey) -> bool:
        """Whether a stored, unclaimed item is gone, or another one, after this transaction."""
        return where[0] in self.drops or where in self.puts


def everything(commit: Commit) -> Iterable[Commit]:
    """A commit and everything that may be looked at with it."""
    return _all(commit) if commit.more or commit.otherwise is not None else (commit,)


def _all(commit: Commit) -> Iterator[Commit]:
    yield commit
    for following in commit.more:
        yield from everything(following)
    if commit.otherwise is not None:
        yield from everything(commit.otherwise)
