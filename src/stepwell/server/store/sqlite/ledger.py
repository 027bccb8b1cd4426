"""The ledger as the file has it: read once, at opening."""

import sqlite3

from stepwell.core.model import ItemRef
from stepwell.server.store.codec import decode_flow, decode_item
from stepwell.server.store.ledger import Held, Ledger, buckets_of, gate_of
from stepwell.server.store.sqlite.queries import SQL


def read_ledger(conn: sqlite3.Connection) -> Ledger:
    """The ledger as the file has it. All parked items will be looked at again."""
    ledger = Ledger()
    for seq, run_id, key, claim, owner, data in conn.execute(SQL.claimed_items):
        held = Held(seq, claim, owner, buckets_of(decode_item(data).limits))
        ledger.claims.setdefault(run_id, {})[key] = held
        ledger.used.update(held.buckets)
    for run_id, bucket in conn.execute(SQL.holds):
        ledger.holds.setdefault(run_id, set()).add(bucket)
        ledger.used[bucket] += 1
    for (gate,) in conn.execute(SQL.gates):
        found = gate_of(gate)
        ledger.mark(found, parked=True)
        ledger.dirty.update(limit.bucket for limit in found.limits)
    for ref, run_id, key, claim in conn.execute(SQL.all_arriving):
        if claim is None:
            ledger.stale.add(ref)
        else:
            ledger.arriving.add(ItemRef(run_id, key, claim))
    ledger.flows.update((bucket, decode_flow(data)) for bucket, data in conn.execute(SQL.flows))
    (ledger.expiry,) = conn.execute(SQL.next_expiry, (-1,)).fetchone()
    (ledger.seq,) = conn.execute(SQL.last_seq).fetchone()
    (ledger.reserved,) = conn.execute(SQL.reserved_claims).fetchone()
    ledger.claim = ledger.reserved
    return ledger
