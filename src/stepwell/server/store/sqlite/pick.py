"""Which items a transaction claims: those due, oldest first, that their limits admit.

Items come from four places: those that the transaction itself puts, the stored ones that are ready, those parked behind a gate
that has opened (a slot was freed, a pace's time has come), and parked ones that expire. Each is read only as far as needed,
and merged by (due_at, seq).

A gate is the set of all limits and paces that an item has been held back by; it is open when each of them is. An item only
ever moves to a gate that holds more, so it is moved a few times in its life, however often it is passed over.
"""

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from heapq import merge

from msgspec.structs import replace

from stepwell.core.flow.gates import Gate, Shut, gate_opens, has_room, shut_by, taken, wanted
from stepwell.core.model import Item
from stepwell.server.store.base import ClaimRequest
from stepwell.server.store.codec import stored_item
from stepwell.server.store.sqlite.ledger import Held, ItemKey, buckets_of, gate_text
from stepwell.server.store.sqlite.plan import Plan, Put
from stepwell.server.store.sqlite.queries import SQL


@dataclass(slots=True)
class _Candidate:
    """An item that may be claimed. ``put``: it is not stored yet; ``gate``: where it is parked now."""

    due_at: int
    seq: int
    item: Item
    put: Put | None = None
    gate: Gate | None = None


_Candidates = Generator[_Candidate, None, None]


def pick(conn: sqlite3.Connection, plan: Plan, request: ClaimRequest) -> list[Item]:
    """Claim items in the plan; what is due and held back is parked in it."""
    if request.limit <= 0:
        return []
    return _Walk(conn, plan, request).run()


class _Walk:
    def __init__(self, conn: sqlite3.Connection, plan: Plan, request: ClaimRequest) -> None:
        self._conn = conn
        self._plan = plan
        self._draft = plan.draft
        self._request = request
        self._claimed: list[Item] = []
        self._expiring: list[int] = []

    def run(self) -> list[Item]:
        gates = self._gates()
        with ExitStack() as stack:
            sources = [stack.enter_context(closing(source)) for source in self._sources(gates)]
            complete = self._claim_from(merge(*sources, key=lambda found: (found.due_at, found.seq)))
        if complete:
            self._draft.dirty.clear()
        self._draft.expires(min(self._expiring, default=None))
        return self._claimed

    def _claim_from(self, candidates: Iterator[_Candidate]) -> bool:
        """Whether all candidates were looked at, rather than as many as were asked for."""
        for found in candidates:
            held = self._draft.held_by(found.item.run_id)
            shut = shut_by(found.item, self._draft.used, self._draft.flow, self._request.now, held)
            if shut is not None:
                self._park(found, shut)
                continue
            if not self._claim(found):
                continue
            if len(self._claimed) >= self._request.limit:
                return False
        return True

    def _gates(self) -> list[Gate]:
        """The gates that may have opened: in a fixed order."""
        ledger = self._draft.ledger
        if not self._draft.dirty and not ledger.timed:
            return []
        found = {gate for bucket in self._draft.dirty for gate in ledger.gates.get(bucket, ())}
        return sorted((gate for gate in found | ledger.timed if self._open(gate)), key=gate_text)

    def _open(self, gate: Gate) -> bool:
        draft, now = self._draft, self._request.now
        return has_room(gate, draft.used) and (not gate.paces or gate_opens(gate, draft.flow, now) <= now)

    def _sources(self, gates: list[Gate]) -> list[_Candidates]:
        sources = [self._fresh(), self._stored(SQL.ready_items, self._request.now)]
        sources += [self._behind(gate) for gate in gates]
        if self._draft.expiry is not None and self._draft.expiry <= self._request.now:
            sources.append(self._expired())
        return sources

    def _fresh(self) -> _Candidates:
        now = self._request.now
        due = [put for put in self._plan.puts.values() if put.item.due_at <= now]
        for put in sorted(due, key=lambda put: (put.item.due_at, put.seq)):
            yield _Candidate(put.item.due_at, put.seq, replace(put.item, attempt=put.attempt), put)

    def _stored(self, sql: str, value: str | int, behind: Gate | None = None) -> _Candidates:
        with closing(self._conn.execute(sql, (value,))) as cursor:
            for seq, run_id, key, due_at, claim, attempt, rescues, _, data in cursor:
                where: ItemKey = (run_id, key)
                if not self._plan.replaces(where):
                    item = stored_item(data, claim, self._plan.attempt_of(where, attempt), rescues)
                    yield _Candidate(due_at, seq, item, None, behind)

    def _behind(self, gate: Gate) -> _Candidates:
        """Items parked behind a gate, until it shuts again; when none is left, the gate is forgotten."""
        if not self._open(gate):
            return
        for found in self._stored(SQL.parked_items, gate_text(gate), gate):
            yield found
            if not self._open(gate):
                return
        self._draft.gates.setdefault(gate, False)

    def _expired(self) -> _Candidates:
        """Parked items whose time is over. When all were looked at, the next one is found out."""
        now = self._request.now
        yield from self._stored(SQL.expired_items, now)
        (self._draft.expiry,) = self._conn.execute(SQL.next_expiry, (now,)).fetchone()

    def _park(self, found: _Candidate, shut: Shut) -> None:
        gate = (found.gate or Gate()).joined(shut)
        self._draft.gates[gate] = True
        if found.item.expires_at is not None:
            self._expiring.append(found.item.expires_at)
        if found.put is not None:
            found.put.gate = gate_text(gate)
        elif found.gate != gate:
            self._plan.parked.append((gate_text(gate), found.seq))
        found.gate = gate

    def _claim(self, found: _Candidate) -> bool:
        """False when the item was claimed a moment ago: one that expires may come from two places."""
        where: ItemKey = (found.item.run_id, found.item.key)
        if where in self._draft.taken:
            return False
        if found.item.holds:
            taking = {limit.bucket for limit in wanted(found.item, self._draft.held_by(found.item.run_id))}
            self._draft.hold(found.item.run_id, taking)
        now = self._request.now
        if found.item.paces and (found.item.expires_at is None or found.item.expires_at > now):
            for pace in found.item.paces:
                self._draft.set_flow(pace.bucket, taken(pace, self._draft.flow(pace.bucket), now))
        number, owner = self._draft.next_claim(), self._request.owner
        if found.put is not None:
            found.put.claim, found.put.owner = number, owner
        else:
            self._plan.claimed.append((found.seq, number))
            found.gate = None
        item = replace(found.item, claim=number)
        self._draft.take(where, Held(found.seq, number, owner, buckets_of(item.limits)))
        self._claimed.append(item)
        return True
