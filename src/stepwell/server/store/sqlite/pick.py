"""Which items a transaction claims: those due, oldest first, that their limits admit.

Items come from four places: those that the transaction itself puts, the stored ones that are ready, those parked behind a gate
that has opened (a slot was freed, a pace's time has come), and parked ones that expire. Each is read only as far as needed,
and merged by (due_at, seq).
"""

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from heapq import merge

from stepwell.core.flow.gates import Gate
from stepwell.core.model import Item
from stepwell.server.store.base import ClaimRequest
from stepwell.server.store.codec import stored_item
from stepwell.server.store.ledger import ItemKey, gate_of, gate_text
from stepwell.server.store.picking import Candidate, Picker
from stepwell.server.store.plan import Plan
from stepwell.server.store.sqlite.queries import SQL

_Candidates = Generator[Candidate, None, None]


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
        self._picker = Picker(plan, request)

    def run(self) -> list[Item]:
        gates = self._gates()
        with ExitStack() as stack:
            sources = [stack.enter_context(closing(source)) for source in self._sources(gates)]
            complete = self._claim_from(merge(*sources, key=lambda found: (found.due_at, found.seq)))
        if complete:
            self._draft.dirty.clear()
        self._draft.expires(min(self._picker.expiring, default=None))
        return self._picker.claimed

    def _claim_from(self, candidates: Iterator[Candidate]) -> bool:
        """Whether all candidates were looked at, rather than as many as were asked for."""
        for found in candidates:
            self._picker.offer(found)
            if self._picker.full:
                return False
        return True

    def _gates(self) -> list[Gate]:
        """The gates that may have opened: in a fixed order."""
        ledger = self._draft.ledger
        if not self._draft.dirty and not ledger.timed:
            return []
        found = {gate for bucket in self._draft.dirty for gate in ledger.gates.get(bucket, ())}
        return sorted((gate for gate in found | ledger.timed if self._picker.is_open(gate)), key=gate_text)

    def _sources(self, gates: list[Gate]) -> list[_Candidates]:
        sources = [self._fresh(), self._stored(SQL.ready_items, self._request.now)]
        sources += [self._behind(gate) for gate in gates]
        if self._draft.expiry is not None and self._draft.expiry <= self._request.now:
            sources.append(self._expired())
        return sources

    def _fresh(self) -> _Candidates:
        yield from self._picker.fresh()

    def _stored(self, sql: str, value: str | int, behind: Gate | None = None) -> _Candidates:
        with closing(self._conn.execute(sql, (value,))) as cursor:
            for seq, run_id, key, due_at, claim, attempt, rescues, gate, data in cursor:
                where: ItemKey = (run_id, key)
                if not self._plan.replaces(where):
                    item = stored_item(data, claim, self._plan.attempt_of(where, attempt), rescues)
                    yield Candidate(due_at, seq, item, None, behind or (None if gate is None else gate_of(gate)))

    def _behind(self, gate: Gate) -> _Candidates:
        """Items parked behind a gate, until it shuts again; when none is left, the gate is forgotten."""
        if not self._picker.is_open(gate):
            return
        for found in self._stored(SQL.parked_items, gate_text(gate), gate):
            yield found
            if not self._picker.is_open(gate):
                return
        self._draft.gates.setdefault(gate, False)

    def _expired(self) -> _Candidates:
        """Parked items whose time is over. When all were looked at, the next one is found out."""
        now = self._request.now
        yield from self._stored(SQL.expired_items, now)
        (self._draft.expiry,) = self._conn.execute(SQL.next_expiry, (now,)).fetchone()
