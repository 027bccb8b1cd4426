"""Which items a transaction claims: those due, oldest first, that their limits admit.

Items come from three places: those that the transaction itself puts, the stored ones that are ready, and those parked
behind a limit of a bucket in which a slot was freed. Each is read only as far as needed, and merged by (due_at, seq).
"""

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from heapq import merge

from msgspec.structs import replace

from stepwell.core.flow.concurrency import blocked_by
from stepwell.core.model import Item, Limit
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
    gate: str | None = None


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

    def run(self) -> list[Item]:
        gates = self._open_gates()
        with ExitStack() as stack:
            sources = [stack.enter_context(closing(source)) for source in self._sources(gates)]
            complete = self._claim_from(merge(*sources, key=lambda found: (found.due_at, found.seq)))
        if complete:
            self._draft.dirty.clear()
        return self._claimed

    def _claim_from(self, candidates: Iterator[_Candidate]) -> bool:
        """Whether all candidates were looked at, rather than as many as were asked for."""
        for found in candidates:
            shut = self._shut(found.item)
            if shut is not None:
                self._park(found, shut)
                continue
            self._claim(found)
            if len(self._claimed) >= self._request.limit:
                return False
        return True

    def _open_gates(self) -> list[Limit]:
        """The limits behind which items are parked and slots may be free, in a fixed order."""
        known = self._draft.ledger.gates
        return [Limit(bucket, slots) for bucket in sorted(self._draft.dirty) for slots in sorted(known.get(bucket, ()))]

    def _sources(self, gates: list[Limit]) -> list[_Candidates]:
        return [
            self._fresh(),
            self._stored(SQL.ready_items, self._request.now),
            *(self._behind(gate) for gate in gates),
        ]

    def _fresh(self) -> _Candidates:
        now = self._request.now
        due = [put for put in self._plan.puts.values() if put.item.due_at <= now]
        for put in sorted(due, key=lambda put: (put.item.due_at, put.seq)):
            yield _Candidate(put.item.due_at, put.seq, replace(put.item, attempt=put.attempt), put)

    def _stored(self, sql: str, value: str | int) -> _Candidates:
        with closing(self._conn.execute(sql, (value,))) as cursor:
            for seq, run_id, key, due_at, claim, attempt, rescues, gate, data in cursor:
                where: ItemKey = (run_id, key)
                if not self._plan.replaces(where):
                    item = stored_item(data, claim, self._plan.attempt_of(where, attempt), rescues)
                    yield _Candidate(due_at, seq, item, None, gate)

    def _behind(self, gate: Limit) -> _Candidates:
        """Items parked behind a limit, until it shuts again; when none is left, the gate is forgotten."""
        if self._draft.used(gate.bucket) >= gate.limit:
            return
        for found in self._stored(SQL.parked_items, gate_text(gate)):
            yield found
            if self._draft.used(gate.bucket) >= gate.limit:
                return
        self._draft.gates.setdefault(gate, False)

    def _shut(self, item: Item) -> Limit | None:
        bucket = blocked_by(item.limits, self._draft.used) if item.limits else None
        if bucket is None:
            return None
        used = self._draft.used(bucket)
        return next(limit for limit in item.limits if limit.bucket == bucket and used >= limit.limit)

    def _park(self, found: _Candidate, shut: Limit) -> None:
        gate = gate_text(shut)
        self._draft.gates[shut] = True
        if found.put is not None:
            found.put.gate = gate
        elif found.gate != gate:
            self._plan.parked.append((gate, found.seq))
            found.gate = gate

    def _claim(self, found: _Candidate) -> None:
        number, owner = self._draft.next_claim(), self._request.owner
        if found.put is not None:
            found.put.claim, found.put.owner = number, owner
        else:
            self._plan.claimed.append((found.seq, number))
            found.gate = None
        item = replace(found.item, claim=number)
        self._draft.take((item.run_id, item.key), Held(found.seq, number, owner, buckets_of(item.limits)))
        self._claimed.append(item)
