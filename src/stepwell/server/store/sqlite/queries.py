"""The statements of ``queries.sql`` as typed attributes, and statements that take many rows in one go."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from stepwell.server.store.statements import load_statements

Row = tuple[object, ...]

_CHUNKS = (64, 16, 4, 1)
_VALUES = re.compile(r"VALUES\s+(\([?, ]+\))")


@dataclass(frozen=True, slots=True)
class Queries:
    """One attribute for each statement in ``queries.sql``; the two are compared at import."""

    versions: str
    keys: str
    headers: str
    admissions: str
    put_admissions: str
    drop_admissions: str
    forget_admissions: str
    put_events: str
    put_keys: str
    put_runs: str
    put_links: str
    put_steps: str
    put_bodies: str
    drop_items: str
    delete_items: str
    put_items: str
    touch_item: str
    claim_items: str
    park_item: str
    free_items: str
    reserve_claims: str
    reserved_claims: str
    last_seq: str
    claimed_items: str
    gates: str
    ready_items: str
    parked_items: str
    expired_items: str
    next_expiry: str
    put_waits: str
    drop_waits: str
    stored_waits: str
    waited: str
    signal_holders: str
    find_waits: str
    waited_places: str
    find_signal: str
    item_seq: str
    waiting_names: str
    put_cancellations: str
    cancellations: str
    drop_cancellations: str
    keys_of: str
    largest_gates: str
    behind_gate: str
    pauses: str
    put_pause: str
    drop_pause: str
    flows: str
    put_flows: str
    drop_flows: str
    holds: str
    put_holds: str
    drop_holds: str
    due_of_run: str
    next_due: str
    put_lease: str
    end_leases: str
    forget_leases: str
    forget_leader: str
    leases: str
    put_worker: str
    forget_workers: str
    workers: str
    drop_worker: str
    lead: str
    resign: str
    put_app: str
    apps: str
    run: str
    event: str
    steps_of_run: str
    items_of_run: str
    list_runs: str
    list_runs_of_status: str
    list_runs_of_function: str
    list_active_runs: str
    list_runs_of_app: str
    list_events: str
    list_events_of_name: str
    list_runs_of_event: str
    body: str
    body_part: str
    body_pieces: str
    drop_pieces: str
    keep_body: str
    put_arriving: str
    end_arriving: str
    drop_arriving: str
    all_arriving: str
    old_runs: str
    runs_of_events: str
    working: str
    large_bodies: str
    give_up_bodies: str
    forget_bodies: str
    forget_steps: str
    forget_runs: str
    old_events: str
    forget_links: str
    forget_events: str
    old_keys: str
    forget_keys: str
    old_cancellations: str
    runs_after: str
    waits_of_run: str
    runs_by_status: str
    item_counts: str
    sealed_rows: str
    sealed_events: str
    reseal_event: str
    sealed_runs: str
    reseal_run: str
    sealed_steps: str
    reseal_step: str
    sealed_items: str
    reseal_item: str
    sealed_waits: str
    reseal_wait: str
    sealed_cancellations: str
    reseal_cancellation: str
    sealed_bodies: str
    reseal_body: str
    sealed_pieces: str
    reseal_piece: str
    bodies_in_files: str
    drop_app: str


SQL = Queries(**load_statements(__package__ or "", Queries))


@lru_cache(maxsize=64)
def _multiplied(sql: str, count: int) -> str:
    return _VALUES.sub(lambda found: "VALUES " + ", ".join([found[1]] * count), sql, count=1)


def chunked(sql: str, rows: Sequence[Row]) -> Iterator[tuple[str, list[object]]]:
    """``sql`` for many rows per statement, in few sizes so that prepared statements are found again.

    Each statement gives up and takes back the interpreter's lock; with busy threads around that costs more than rows.
    """
    start = 0
    for size in _CHUNKS:
        while len(rows) - start >= size:
            part = rows[start : start + size]
            yield _multiplied(sql, size), list(chain.from_iterable(part))
            start += size


def write_rows(conn: sqlite3.Connection, sql: str, rows: Sequence[Row]) -> None:
    """Run a statement with one ``VALUES (...)`` for all rows, in order."""
    for statement, values in chunked(sql, rows):
        conn.execute(statement, values)
