"""One transaction: the part of the ledger that it has read and locked so far, and what it changes of it."""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from stepwell.core.flow.gates import FlowState, Gate, gate_opens, has_room
from stepwell.core.model import Item, ItemRef, Limit, Pace
from stepwell.server.store.codec import decode_flow, decode_item, encode
from stepwell.server.store.ledger import Draft, Held, ItemKey, Ledger, buckets_of, gate_text
from stepwell.server.store.postgres.connect import Conn
from stepwell.server.store.postgres.locks import Kind, lock
from stepwell.server.store.postgres.queries import SQL, columns

FRESH = 2**61
"""Places in the queue from here on are provisional: behind all stored ones. So are claim numbers from 1 on."""
FAR = 2**62
"""When a gate opens that waits for a slot."""


class Session:
    """What a transaction knows. Slots, paces and gates may be looked at, and changed, only after ``lock_flow``."""

    def __init__(self, conn: Conn) -> None:
        self.conn = conn
        self.ledger = Ledger(seq=FRESH)
        self.draft = Draft(self.ledger)
        self.flow_locked = False
        self.looked: set[Gate] = set()
        """Gates that may have opened, and were looked at."""
        self.places: dict[str, dict[str, int]] = {}
        """Of all items of the runs that were locked as a whole, by run and key."""
        self.observed: set[str] = set()
        """Paced buckets of which something was learnt."""
        self.repeats = False
        """Whether events were there already."""
        self._buckets: set[str] = set()
        self._runs: set[str] = set()

    async def lock_flow(self) -> None:
        """Nobody else changes slots, paces and gates from here on. The last lock to be waited for."""
        if not self.flow_locked:
            self.flow_locked = True
            await lock(self.conn, Kind.FLOW, ("",))

    def take_rows(self, rows: Iterable[Any]) -> list[tuple[ItemKey, Held]]:
        """Claims, from the locked rows of items; those that are not claimed are left out."""
        found: list[tuple[ItemKey, Held]] = []
        for seq, run_id, key, claim, owner, data, arriving in rows:
            if owner is None:
                continue
            held = Held(seq, claim, owner, buckets_of(decode_item(data).limits))
            self.ledger.claims.setdefault(run_id, {})[key] = held
            if arriving is not None:
                self.ledger.arriving.add(ItemRef(run_id, key, claim))
            found.append(((run_id, key), held))
        return found

    async def lock_items(self, places: Collection[ItemKey]) -> list[tuple[ItemKey, Held]]:
        """Lock rows of items; the claims of those that are claimed."""
        if not places:
            return []
        return self.take_rows(await self.conn.fetch(SQL.lock_items, *columns(places)))

    def take_dropped(self, run_ids: Iterable[str], rows: Sequence[Any], holds: Iterable[Any]) -> None:
        """All items of these runs, from their locked rows, and the slots that these hold."""
        for seq, run_id, key, *_ in rows:
            self.places.setdefault(run_id, {})[key] = seq
        self.take_rows(rows)
        self._runs.update(run_ids)
        for run_id, bucket in holds:
            self.ledger.holds.setdefault(run_id, set()).add(bucket)

    def stored_places(self, wheres: Iterable[ItemKey]) -> set[int]:
        """Places of the items that are stored under these keys, as far as their rows were locked and are needed."""
        found = {self.places.get(run_id, {}).get(key) for run_id, key in wheres}
        found.update(held.seq for where in wheres if (held := self.ledger.claims.get(where[0], {}).get(where[1])))
        return {seq for seq in found if seq is not None}

    async def know(self, items: Sequence[Item]) -> None:
        """Learn of what may hold items back."""
        gated = [item for item in items if item.limits or item.paces or item.holds]
        if not gated:
            return
        await self.lock_flow()
        await self._know_runs({item.run_id for item in gated if item.holds})
        each = [one for item in gated for one in (*item.limits, *item.holds, *item.paces)]
        await self.know_buckets(each)

    async def know_buckets(self, each: Iterable[Limit | Pace]) -> None:
        """Learn of slots and paces."""
        buckets = {one.bucket for one in each} - self._buckets
        if not buckets:
            return
        self._buckets |= buckets
        names = sorted(buckets)
        self.ledger.used.update(dict(await self.conn.fetch(SQL.used, names)))
        found = await self.conn.fetch(SQL.flows, names)
        self.ledger.flows.update({bucket: decode_flow(data) for bucket, data in found})

    async def _know_runs(self, run_ids: Collection[str]) -> None:
        new = set(run_ids) - self._runs
        if new:
            self._runs |= new
            for run_id, bucket in await self.conn.fetch(SQL.holds_of_runs, sorted(new)):
                self.ledger.holds.setdefault(run_id, set()).add(bucket)

    async def free(self, items: Sequence[tuple[ItemKey, Held]], rescues: int) -> None:
        """End claims; the items can be claimed again. Then all of it is written."""
        if not items:
            return
        if any(held.buckets for _, held in items):
            await self.lock_flow()
        for where, held in items:
            self.draft.free(where, held)
        await self.conn.execute(SQL.free_items, rescues, [held.seq for _, held in items])
        await self.write_flow(0)
        await self.settle_bodies()

    async def write_flow(self, now: int) -> None:
        """Slots, paces, and the gates that they open."""
        draft = self.draft
        changed = {bucket: change for bucket, change in draft.change.items() if change}
        if changed:
            await self.conn.execute(SQL.add_used, *columns(sorted(changed.items())))
            freed = [bucket for bucket, change in changed.items() if change < 0]
            if freed:
                await self.conn.execute(SQL.drop_unused, freed)
        if draft.let_go:
            await self.conn.execute(SQL.drop_holds, sorted(draft.let_go))
        held = [(run_id, bucket) for run_id, found in sorted(draft.holds.items()) for bucket in sorted(found)]
        if held:
            await self.conn.execute(SQL.put_holds, *columns(held))
        await self._write_paces(draft.flows)
        await self._write_gates(now)

    async def _write_paces(self, flows: dict[str, FlowState | None]) -> None:
        kept = [(name, encode(state), state.idle_at) for name, state in sorted(flows.items()) if state is not None]
        if kept:
            await self.conn.execute(SQL.put_flows, *columns(kept))
        if len(kept) < len(flows):
            await self.conn.execute(SQL.drop_flows, sorted(name for name, state in flows.items() if state is None))

    async def _write_gates(self, now: int) -> None:
        """When to look at each again; those that others have something behind are kept, whoever passed over it."""
        touched = self.looked | self.draft.gates.keys()
        empty = [gate_text(gate) for gate in touched if not self.draft.gates.get(gate, True)]
        opening = {gate_text(gate): (_buckets_in(gate), self._opens(gate, now)) for gate in touched}
        changed = self.draft.dirty | self.observed
        if changed:
            await self.conn.execute(SQL.open_gates, sorted(changed))
        if opening:
            rows = [(name, buckets, opens) for name, (buckets, opens) in sorted(opening.items())]
            await self.conn.execute(SQL.put_gates, *columns(rows))
        if empty:
            await self.conn.execute(SQL.drop_gates, sorted(empty))

    def _opens(self, gate: Gate, now: int) -> int:
        if not self.draft.gates.get(gate, True):
            return 0
        if not has_room(gate, self.draft.used):
            return FAR
        opens = gate_opens(gate, self.draft.flow, now)
        return opens if opens > now else 0

    async def settle_bodies(self) -> None:
        """Keep or give up the bodies whose claims have ended."""
        draft = self.draft
        if not draft.closed:
            return
        kept = sorted((claim.body, claim.run_id) for claim in draft.closed if claim in draft.kept)
        lost = sorted(claim.body for claim in draft.closed if claim not in draft.kept)
        if kept:
            await self.conn.execute(SQL.keep_bodies, *columns(kept))
        if lost:
            await self.conn.execute(SQL.drop_pieces, lost)
        await self.conn.execute(SQL.drop_arriving, sorted(claim.body for claim in draft.closed))


def _buckets_in(gate: Gate) -> str:
    return json.dumps(sorted({one.bucket for one in (*gate.limits, *gate.paces)}))
