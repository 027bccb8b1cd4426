"""What a transaction has to know of claims: who holds which items, the slots they use, the next numbers.

A transaction works on a :class:`Draft`. Where one process owns the storage, the ledger is read once at opening, and a
draft is merged into it when it has been committed; where it does not, each transaction reads the part that it needs.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from stepwell.core.flow.gates import FlowState, Gate
from stepwell.core.model import ItemRef, Limit, Pace

ItemKey = tuple[str, str]


class Held(NamedTuple):
    """A claimed item: its row, the number and owner of the claim, the buckets in which it takes a slot."""

    seq: int
    claim: int
    owner: str
    buckets: tuple[str, ...]


@dataclass(slots=True)
class Ledger:
    """Claims by run and key; ``holds``: buckets in which runs hold slots; slots used by bucket; ``dirty`` buckets, in which
    a slot was freed since parked items were looked at; ``gates``: those behind which items are parked, by the buckets of
    their limits; ``timed``: those with paces; ``flows``: what paced buckets remember; ``expiry``: no parked item expires
    before; ``arriving``: claims that have stored pieces of a body; ``stale``: refs of bodies that were given up and are not
    deleted to the last piece."""

    claims: dict[str, dict[str, Held]] = field(default_factory=dict[str, dict[str, Held]])
    holds: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    used: Counter[str] = field(default_factory=Counter[str])
    dirty: set[str] = field(default_factory=set[str])
    gates: dict[str, set[Gate]] = field(default_factory=dict[str, set[Gate]])
    timed: set[Gate] = field(default_factory=set[Gate])
    flows: dict[str, FlowState] = field(default_factory=dict[str, FlowState])
    keep_flows: int = 256
    expiry: int | None = None
    arriving: set[ItemRef] = field(default_factory=set[ItemRef])
    stale: set[str] = field(default_factory=set[str])
    seq: int = 0
    claim: int = 0
    reserved: int = 0

    def owned_by(self, ref: ItemRef) -> Held | None:
        """The claim that ``ref`` names, if it is still held."""
        held = self.claims.get(ref.run_id, {}).get(ref.key)
        return held if held is not None and held.claim == ref.claim else None

    def everything(self) -> list[tuple[ItemKey, Held]]:
        """Every claim."""
        return [((run_id, key), held) for run_id, keys in self.claims.items() for key, held in keys.items()]

    def _add(self, where: ItemKey, held: Held) -> None:
        self.claims.setdefault(where[0], {})[where[1]] = held

    def _remove(self, where: ItemKey) -> None:
        keys = self.claims[where[0]]
        del keys[where[1]]
        if not keys:
            del self.claims[where[0]]

    def merge(self, draft: "Draft") -> None:
        """Take over what a committed transaction did."""
        for where in draft.freed:
            self._remove(where)
        for where, held in draft.taken.items():
            self._add(where, held)
        for run_id in draft.let_go:
            self.holds.pop(run_id, None)
        for run_id, buckets in draft.holds.items():
            self.holds.setdefault(run_id, set()).update(buckets)
        for bucket, change in draft.change.items():
            self.used[bucket] += change
            if self.used[bucket] <= 0:
                del self.used[bucket]
        self.dirty = draft.dirty
        for gate, parked in draft.gates.items():
            self.mark(gate, parked)
        for bucket, state in draft.flows.items():
            if state is None:
                self.flows.pop(bucket, None)
            else:
                self.flows[bucket] = state
        self.arriving.update(draft.begun)
        self.arriving.difference_update(draft.closed)
        self.stale.update(draft.stale)
        self.stale.difference_update(draft.swept)
        self.expiry, self.keep_flows = draft.expiry, draft.keep_flows
        self.seq, self.claim, self.reserved = draft.seq, draft.claim, draft.reserved

    def mark(self, gate: Gate, parked: bool) -> None:
        """Remember a gate, or forget it."""
        change = set[Gate].add if parked else set[Gate].discard
        if gate.paces:
            change(self.timed, gate)
        for bucket in {limit.bucket for limit in gate.limits}:
            known = self.gates.setdefault(bucket, set())
            change(known, gate)
            if not known:
                del self.gates[bucket]


class Draft:
    """Changes to a ledger that one transaction makes."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.freed: dict[ItemKey, Held] = {}
        self.taken: dict[ItemKey, Held] = {}
        self.let_go: set[str] = set()
        """Runs whose slots are freed; ``holds``: those that runs take after that."""
        self.holds: dict[str, set[str]] = {}
        self.change: Counter[str] = Counter()
        self.dirty = set(ledger.dirty)
        self.gates: dict[Gate, bool] = {}
        self.flows: dict[str, FlowState | None] = {}
        self.begun: set[ItemRef] = set()
        self.closed: list[ItemRef] = []
        """Claims that have ended, and had stored pieces of a body."""
        self.kept: set[ItemRef] = set()
        """Claims whose bodies are kept."""
        self.stale: set[str] = set()
        self.swept: set[str] = set()
        self.expiry, self.keep_flows = ledger.expiry, ledger.keep_flows
        self.seq, self.claim, self.reserved = ledger.seq, ledger.claim, ledger.reserved

    def held(self, where: ItemKey) -> Held | None:
        """The claim of the item as it was before this transaction, unless freed by it."""
        return None if where in self.freed else self.ledger.claims.get(where[0], {}).get(where[1])

    def held_of(self, run_id: str) -> list[str]:
        """Keys of the claimed items of a run."""
        return [key for key in self.ledger.claims.get(run_id, {}) if (run_id, key) not in self.freed]

    def free(self, where: ItemKey, held: Held) -> None:
        """The claim ends; so do its slots."""
        self.freed[where] = held
        if self.ledger.arriving and (claim := ItemRef(*where, held.claim)) in self.ledger.arriving:
            self.closed.append(claim)
        for bucket in held.buckets:
            self.change[bucket] -= 1
            self.dirty.add(bucket)

    def take(self, where: ItemKey, held: Held) -> None:
        """A claim begins."""
        self.taken[where] = held
        for bucket in held.buckets:
            self.change[bucket] += 1

    def held_by(self, run_id: str) -> Collection[str]:
        """The buckets in which a run holds a slot."""
        old: Collection[str] = () if run_id in self.let_go else self.ledger.holds.get(run_id, ())
        new = self.holds.get(run_id)
        return {*old, *new} if new else old

    def hold(self, run_id: str, buckets: set[str]) -> None:
        """A run takes a slot in each, until it is let go."""
        self.holds.setdefault(run_id, set()).update(buckets)
        self.change.update(buckets)

    def release(self, run_id: str) -> None:
        """A run's slots are freed."""
        buckets = self.held_by(run_id)
        self.change.subtract(buckets)
        self.dirty.update(buckets)
        self.holds.pop(run_id, None)
        if run_id in self.ledger.holds:
            self.let_go.add(run_id)

    def used(self, bucket: str) -> int:
        """Slots in use."""
        return self.ledger.used[bucket] + self.change[bucket]

    def timed_gates(self) -> list[Gate]:
        """Gates with paces, behind which items are parked."""
        new = [gate for gate, parked in self.gates.items() if parked and gate.paces]
        if not new and not self.ledger.timed:
            return []
        return [*{*self.ledger.timed, *new} - {gate for gate, parked in self.gates.items() if not parked}]

    def flow(self, bucket: str) -> FlowState | None:
        """What a paced bucket remembers."""
        return self.flows[bucket] if bucket in self.flows else self.ledger.flows.get(bucket)

    def set_flow(self, bucket: str, state: FlowState | None) -> None:
        """What it remembers from here on."""
        if state is not None or bucket in self.ledger.flows or bucket in self.flows:
            self.flows[bucket] = state

    def forget_idle(self, now: int) -> None:
        """Drop what means nothing any more, when there is much of it."""
        if len(self.ledger.flows) <= self.keep_flows:
            return
        idle = [bucket for bucket, state in self.ledger.flows.items() if state.idle_at <= now]
        for bucket in idle:
            self.flows.setdefault(bucket, None)
        self.keep_flows = 256 + 2 * (len(self.ledger.flows) - len(idle))

    def expires(self, at: int | None) -> None:
        """An item that expires ``at`` is parked."""
        if at is not None:
            self.expiry = at if self.expiry is None else min(self.expiry, at)

    def next_seq(self) -> int:
        """The next place in the queue."""
        self.seq += 1
        return self.seq

    def next_claim(self) -> int:
        """The next claim number; never given out before, by any process."""
        self.claim += 1
        return self.claim


def buckets_of(limits: tuple[Limit, ...]) -> tuple[str, ...]:
    """The buckets in which an item takes a slot, each once."""
    return tuple(dict.fromkeys(limit.bucket for limit in limits)) if limits else ()


def gate_text(gate: Gate) -> str:
    """How a gate is written in a store: its limits and its paces, as JSON."""
    return msgspec.json.encode((gate.limits, gate.paces)).decode()


_decode_gate = msgspec.json.Decoder(tuple[tuple[Limit, ...], tuple[Pace, ...]]).decode


def gate_of(text: str) -> Gate:
    """The gate that was written so."""
    limits, paces = _decode_gate(text)
    return Gate(limits, paces)
