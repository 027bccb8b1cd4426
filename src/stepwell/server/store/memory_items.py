"""Work items in memory: the queue, who has claimed what, the slots that are taken and the paces that are kept."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

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
from stepwell.core.model import Item, ItemRef
from stepwell.core.outputs import Commit
from stepwell.server.store.base import ClaimRequest, Piece
from stepwell.server.store.codec import run_of

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


class ItemTable:
    """Items by run and key; the part of the memory store that says what a claim is, and what holds one back."""

    def __init__(self) -> None:
        super().__init__()
        self._items: dict[str, dict[str, _Entry]] = {}
        self._arriving: dict[ItemRef, dict[int, bytes]] = {}
        """Pieces of bodies by where they begin, by the claim whose holder stores them."""
        self._leases: dict[str, int] = {}
        self._used: Counter[str] = Counter()
        self._holds: dict[str, set[str]] = {}
        """Buckets in which runs hold a slot, by run id."""
        self._flows: dict[str, FlowState] = {}
        self._waiting: list[_Place] = []
        """Places of the unclaimed items, sorted."""
        self._seq = 0
        self._claim = 0

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

    def _entries(self) -> list[_Entry]:
        return [entry for entries in self._items.values() for entry in entries.values()]

    def _held(self, ref: ItemRef) -> _Entry | None:
        entry = self._items.get(ref.run_id, {}).get(ref.key)
        return entry if entry and entry.owner is not None and entry.item.claim == ref.claim else None

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

    def _observe(self, commit: Commit) -> None:
        for seen in commit.observed:
            self._flow(seen.pace.bucket, observe(self._flows.get(seen.pace.bucket), seen, commit.now))

    def _flow(self, bucket: str, state: FlowState | None) -> None:
        if state is None:
            self._flows.pop(bucket, None)
        else:
            self._flows[bucket] = state

    def _next_due(self, now: int | None) -> int | None:
        if now is None:
            return None
        index = bisect_left(self._waiting, (now + 1, -1, "", ""))
        times = [self._waiting[index][0]] if index < len(self._waiting) else []
        return min(times + [time for item in self._due(now) for time in self._opens(item, now)], default=None)

    def _due(self, now: int) -> list[Item]:
        """The unclaimed items whose time has come, whatever holds them back."""
        index = bisect_left(self._waiting, (now + 1, -1, "", ""))
        return [self._items[run_id][key].item for _, _, run_id, key in self._waiting[:index]]

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
