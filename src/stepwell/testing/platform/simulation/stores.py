"""The store that all processes share, looked at after every transaction; and each process's way to it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from stepwell.core import invariants
from stepwell.core.invariants import Result, Stored
from stepwell.core.model import Item, ItemRef, Run, WorkKind
from stepwell.core.outputs import Commit
from stepwell.server.store.base import ClaimRequest, Outcome, Store, StoreError, Transacted, Unsure
from stepwell.server.store.memory import MemoryStore


class SharedStore(MemoryStore):
    """``problem`` is told of everything that must not be."""

    def __init__(self, problem: Callable[[str], None]) -> None:
        super().__init__()
        self._problem = problem
        self._results: dict[str, dict[str, Result]] = {}
        self._touched: set[str] = set()
        self._claims: dict[tuple[str, str], int] = {}
        self._expired: set[ItemRef] = set()
        self.freed: Counter[tuple[str, str]] = Counter()
        """How often the claim of an item was taken from its owner or given back."""
        self.entered: Callable[[Run, str, int], None] = _untold
        """Told of each event that goes into a run: the run, the event's internal id, when that was decided (ms)."""

    async def transact(self, commits: Sequence[Commit], claim: ClaimRequest | None = None) -> Transacted:
        """As it is; then everything that it touched is looked at."""
        found = await super().transact(commits, claim)
        for item in found.claimed:
            self._look_at_claim(item)
            if claim is not None and item.expires_at is not None and item.expires_at <= claim.now:
                self._expired.add(ItemRef(item.run_id, item.key, item.claim))
        self._look(bool(found.claimed))
        return found

    async def open(self) -> None:
        """Others may be at work: their leases stay."""

    async def rescue(self, now: int) -> int:
        """As it is, and counted."""
        held = {(e.item.run_id, e.item.key): e for e in self._entries() if e.owner is not None}
        count = await super().rescue(now)
        self.freed.update(where for where, entry in held.items() if entry.owner is None)
        return count

    async def release(self, refs: Sequence[ItemRef]) -> None:
        """As it is, and counted."""
        self.freed.update((ref.run_id, ref.key) for ref in refs if self._held(ref) is not None)
        await super().release(refs)

    def _commit(self, commit: Commit) -> Outcome:
        if commit.run is not None:
            self._touched.add(commit.run.run_id)
        for ref in (*commit.done, *commit.put, *commit.steps, *commit.waits):
            self._touched.add(ref.run_id)
        late = [ref for ref in commit.done if self.claim_of(ref.run_id, ref.key) != ref.claim]
        outcome = super()._commit(commit)
        if late and outcome is Outcome.APPLIED:
            self._problem(f"the outcome of {late[0]} was taken, though somebody else holds that claim, or nobody")
        if outcome is Outcome.APPLIED:
            self._tell_entered(commit)
        return outcome

    def _tell_entered(self, commit: Commit) -> None:
        new = commit.run if commit.run is not None and commit.expected is None else None
        first = [(event_id, new.run_id) for event_id in new.event_ids] if new is not None else []
        for event_id, run_id in (*first, *commit.links):
            if run_id in self._runs:
                self.entered(self._runs[run_id], event_id, commit.now)

    def _look(self, claimed: bool) -> None:
        touched, self._touched = sorted(self._touched & self._runs.keys()), set()
        for run_id in touched:
            self._look_at(run_id)
        for sentence in self._flow_problems() if claimed else ():
            self._problem(sentence)
        ends = (item for item in self.items() if item.kind is WorkKind.CANCEL)
        for sentence in invariants.not_alone(self._runs.values(), ends):
            self._problem(sentence)

    def _look_at_claim(self, item: Item) -> None:
        """No two claims have the same number."""
        if self._claims.get((item.run_id, item.key), 0) >= item.claim:
            self._problem(f"the claim {item.claim} of {item.run_id} {item.key} was given twice")
        self._claims[item.run_id, item.key] = item.claim

    def _look_at(self, run_id: str) -> None:
        stored = self.stored(run_id)
        for sentence in invariants.problems(stored):
            self._problem(sentence)
        for sentence in invariants.changed(self._results.get(run_id, {}), stored.steps):
            self._problem(f"run {run_id}: {sentence}")
        self._results[run_id] = invariants.results(stored.steps)

    def _flow_problems(self) -> list[str]:
        claimed = [e.item for e in self._entries() if e.owner is not None]
        counted = [item for item in claimed if ItemRef(item.run_id, item.key, item.claim) not in self._expired]
        return invariants.over_limit(counted, Counter(b for held in self._holds.values() for b in held))

    # what is there

    def stored(self, run_id: str) -> Stored:
        """A run with all that is stored of it."""
        return Stored(
            run=self._runs[run_id],
            steps=list(self._steps.get(run_id, {}).values()),
            items=[entry.item for entry in self._items.get(run_id, {}).values()],
            waits=[step_id for owner, step_id in self._waits if owner == run_id],
        )

    def runs(self) -> list[Run]:
        """Every run, in the order in which they were stored."""
        return list(self._runs.values())

    def items(self) -> list[Item]:
        """Every work item."""
        return [entry.item for entry in self._entries()]

    def holds_claim(self, run_id: str, key: str, claim: int) -> bool:
        """Whether that claim is still held."""
        return self._held(ItemRef(run_id, key, claim)) is not None

    def claim_of(self, run_id: str, key: str) -> int | None:
        """The claim that is held of an item."""
        entry = self._items.get(run_id, {}).get(key)
        return entry.item.claim if entry is not None and entry.owner is not None else None

    def event(self, internal_id: str) -> bytes:
        """The JSON of a stored event."""
        return self._events[internal_id].body

    def result(self, run_id: str, step_id: str) -> bytes | None:
        """The recorded result of a step."""
        step = self._steps.get(run_id, {}).get(step_id)
        return step.memo if step is not None and step.ended else None

    def started(self, event_id: str) -> set[str]:
        """Functions with a run that an event has gone into, however often it was stored under that id."""
        events = [event.internal_id for event in self._events.values() if event.event_id == event_id]
        runs = (run_id for event in events for run_id in self._links.get(event, ()))
        return {self._runs[run_id].function_id for run_id in runs if run_id in self._runs}


def _untold(run: Run, event_id: str, now: int) -> None:
    """Nobody wants to know."""


class Way:
    """One process's way to the store, with all that can happen on it.

    ``exclusive`` and all verbs are those of a store. ``pause`` waits a little; ``kill`` names the edge of the next commit
    at which the process dies: before it is stored, or after it and before the process learns of it. While it is ``silent``
    an answer is lost whenever ``lost`` says so.
    """

    def __init__(
        self,
        store: SharedStore,
        exclusive: bool,
        pause: Callable[[], Coroutine[Any, Any, None]],
        die: Callable[[], None],
        saw: Callable[[Sequence[Commit], ClaimRequest | None, Transacted], None],
        lost: Callable[[], bool],
    ) -> None:
        self.exclusive = exclusive
        self.kill: str | None = None
        self.refuses = False
        self.silent = False
        self.ended = False
        self._store = store
        self._pause = pause
        self._die = die
        self._saw = saw
        self._lost = lost

    async def transact(self, commits: Sequence[Commit], claim: ClaimRequest | None = None) -> Transacted:
        """See :meth:`Store.transact`."""
        await self._ready()
        if commits and self.kill == "before":
            await self._death()
        found = await self._store.transact(commits, claim)
        self._saw(commits, claim, found)
        if (commits or found.claimed) and self.kill == "after":
            await self._death()
        await self._pause()
        self._answer([ItemRef(item.run_id, item.key, item.claim) for item in found.claimed])
        return found

    def __getattr__(self, verb: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Every other verb."""
        method = getattr(self._store, verb)

        async def ask(*args: Any, **options: Any) -> Any:
            await self._ready()
            found = await method(*args, **options)
            await self._pause()
            self._answer(())
            return found

        return ask

    async def close(self) -> None:
        """See :meth:`Store.close`."""

    async def _ready(self) -> None:
        await self._pause()
        if self.refuses or self.ended:
            raise StoreError("the simulated store does not work")

    def _answer(self, claims: Sequence[ItemRef]) -> None:
        """What was done is done, whether or not the process learns of it."""
        if self.silent and self._lost():
            raise Unsure("the simulated store gave no answer", claims)

    async def _death(self) -> None:
        self._die()
        await asyncio.get_running_loop().create_future()

    def as_store(self) -> Store:
        """It has all verbs of one."""
        return cast("Store", self)
