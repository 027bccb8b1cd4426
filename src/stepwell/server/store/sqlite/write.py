"""Writes a plan: few statements, each for many rows."""

import json
import sqlite3

from stepwell.core.flow.admission import idle_at
from stepwell.core.model import Item
from stepwell.server.store.codec import encode
from stepwell.server.store.ledger import Draft
from stepwell.server.store.plan import Plan
from stepwell.server.store.sqlite.queries import SQL, Row, write_rows
from stepwell.server.store.sqlite.waits import write_waits

_RESERVE = 100_000
"""Claim numbers reserved at once; what is left of them when the process ends is never used."""


def write(conn: sqlite3.Connection, plan: Plan, owner: str) -> None:
    """All rows of the plan; ``owner`` is who claims the stored items in it."""
    _write_state(conn, plan)
    _write_items(conn, plan)
    _write_marks(conn, plan, owner)
    _write_flows(conn, plan.draft)
    _write_holds(conn, plan.draft)
    if plan.admissions:
        _write_admissions(conn, plan)
    _reserve(conn, plan.draft)


def _write_state(conn: sqlite3.Connection, plan: Plan) -> None:
    events: list[Row] = [
        (event.internal_id, event.received_at, event.name, encode(event)) for event in plan.events.values()
    ]
    write_rows(conn, SQL.put_events, events)
    write_rows(conn, SQL.put_keys, [(*where, key.expires_at, key.run_id) for where, key in plan.keys.items()])
    runs: list[Row] = [
        (run.run_id, run.function_id, run.app_id, run.status.value, run.version, run.queued_at, encode(run))
        for run in plan.runs.values()
    ]
    write_rows(conn, SQL.put_runs, runs)
    write_rows(conn, SQL.put_links, plan.links)
    write_rows(conn, SQL.put_steps, [(*where, encode(step)) for where, step in plan.steps.items()])
    write_waits(conn, plan.known.waits)
    write_rows(conn, SQL.put_cancellations, [(one.cancellation_id, encode(one)) for one in plan.cancellations])
    write_rows(conn, SQL.put_bodies, [(body.ref, body.run_id, body.data) for body in plan.bodies.values()])


def _write_items(conn: sqlite3.Connection, plan: Plan) -> None:
    if plan.drops:
        conn.execute(SQL.drop_items, (json.dumps(sorted(plan.drops)),))
    if plan.deleted:
        conn.execute(SQL.delete_items, (json.dumps(plan.deleted),))
    puts: list[Row] = [
        (put.seq, *where, put.item.due_at, put.claim, put.owner, put.gate, put.attempt, *_rest(put.item))
        for where, put in plan.puts.items()
    ]
    write_rows(conn, SQL.put_items, puts)


def _rest(item: Item) -> Row:
    return (item.rescues, item.expires_at, encode(item))


def _write_marks(conn: sqlite3.Connection, plan: Plan, owner: str) -> None:
    if plan.touched:
        conn.executemany(SQL.touch_item, [(attempt, *where) for where, attempt in plan.touched.items()])
    if plan.parked:
        conn.executemany(SQL.park_item, plan.parked)
    if plan.claimed:
        conn.execute(SQL.claim_items, (owner, json.dumps(plan.claimed)))


def _write_flows(conn: sqlite3.Connection, draft: Draft) -> None:
    if not draft.flows:
        return
    kept: list[Row] = [(bucket, encode(state)) for bucket, state in draft.flows.items() if state is not None]
    write_rows(conn, SQL.put_flows, kept)
    if len(kept) < len(draft.flows):
        gone = [bucket for bucket, state in draft.flows.items() if state is None]
        conn.execute(SQL.drop_flows, (json.dumps(gone),))


def _write_holds(conn: sqlite3.Connection, draft: Draft) -> None:
    if draft.let_go:
        conn.execute(SQL.drop_holds, (json.dumps(sorted(draft.let_go)),))
    write_rows(conn, SQL.put_holds, [(run_id, bucket) for run_id, found in draft.holds.items() for bucket in found])


def _write_admissions(conn: sqlite3.Connection, plan: Plan) -> None:
    kept: list[Row] = [
        (bucket, encode(state), idle_at(state)) for bucket, state in plan.admissions.items() if state is not None
    ]
    conn.execute(SQL.forget_admissions, (plan.now, 2 * len(plan.admissions)))
    write_rows(conn, SQL.put_admissions, kept)
    if len(kept) < len(plan.admissions):
        gone = [bucket for bucket, state in plan.admissions.items() if state is None]
        conn.execute(SQL.drop_admissions, (json.dumps(gone),))


def _reserve(conn: sqlite3.Connection, draft: Draft) -> None:
    if draft.claim > draft.reserved:
        draft.reserved = draft.claim + _RESERVE
        conn.execute(SQL.reserve_claims, (draft.reserved,))
