"""Claims an item, or parks it behind the gate that holds it back. Pure; stores bring the candidates, oldest first.

A gate is the set of all limits and paces that an item has been held back by; it is open when each of them is. An item only
ever moves to a gate that holds more, so it is moved a few times in its life, however often it is passed over.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from stepwell.core.flow.gates import Gate, Shut, is_open, passing, shut_by, taken, wanted
from stepwell.core.model import Item
from stepwell.server.store.base import ClaimRequest
from stepwell.server.store.ledger import Held, ItemKey, buckets_of, gate_text
from stepwell.server.store.plan import Plan, Put


@dataclass(slots=True)
class Candidate:
    """An item that may be claimed. ``put``: it is not stored yet; ``gate``: where it is parked now."""

    due_at: int
    seq: int
    item: Item
    put: Put | None = None
    gate: Gate | None = None


class Picker:
    """Takes the candidates of one claim, one after the other, into the plan."""

    def __init__(self, plan: Plan, request: ClaimRequest) -> None:
        self._plan = plan
        self._draft = plan.draft
        self._request = request
        self.claimed: list[Item] = []
        self.expiring: list[int] = []
        """Until when items that were parked are held back at most."""

    @property
    def full(self) -> bool:
        """Whether as many were claimed as were asked for."""
        return len(self.claimed) >= self._request.limit

    def offer(self, found: Candidate) -> None:
        """Claim it, or park it."""
        held = self._draft.held_by(found.item.run_id)
        shut = shut_by(found.item, self._draft.used, self._draft.flow, self._request.now, held)
        if shut is None:
            self._claim(found)
        else:
            self._park(found, shut)

    def fresh(self) -> list[Candidate]:
        """Those that the transaction itself puts."""
        now = self._request.now
        due = [put for put in self._plan.puts.values() if put.item.due_at <= now]
        return [
            Candidate(put.item.due_at, put.seq, replace(put.item, attempt=put.attempt), put)
            for put in sorted(due, key=lambda put: (put.item.due_at, put.seq))
        ]

    def is_open(self, gate: Gate) -> bool:
        """Whether nothing of a gate holds anything back."""
        return is_open(gate, self._draft.used, self._draft.flow, self._request.now)

    def _park(self, found: Candidate, shut: Shut) -> None:
        gate = (found.gate or Gate()).joined(shut)
        self._draft.gates[gate] = True
        if found.item.expires_at is not None:
            self.expiring.append(found.item.expires_at)
        if found.put is not None:
            found.put.gate = gate_text(gate)
        elif found.gate != gate:
            self._plan.parked.append((gate_text(gate), found.seq))
        found.gate = gate

    def _claim(self, found: Candidate) -> None:
        where: ItemKey = (found.item.run_id, found.item.key)
        if where in self._draft.taken:
            return  # a moment ago: one that expires may come from two places
        if found.item.holds:
            taking = {limit.bucket for limit in wanted(found.item, self._draft.held_by(found.item.run_id))}
            self._draft.hold(found.item.run_id, taking)
        now = self._request.now
        passed = () if found.gate is None else passing(found.gate, self._draft.flow, now)
        if found.item.paces and (found.item.expires_at is None or found.item.expires_at > now):
            for pace in found.item.paces:
                state = self._draft.flow(pace.bucket)
                if state is not None or pace.limit:
                    self._draft.set_flow(pace.bucket, taken(pace, state, now))
        number, owner = self._draft.next_claim(), self._request.owner
        if found.put is not None:
            found.put.claim, found.put.owner = number, owner
        else:
            self._plan.claimed.append((found.seq, number))
            found.gate = None
        item = replace(found.item, claim=number, passed=passed)
        self._draft.take(where, Held(found.seq, number, owner, buckets_of(item.limits)))
        self.claimed.append(item)
