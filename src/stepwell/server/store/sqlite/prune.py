"""Deletes what is old, a few records at a time. Large bodies go after that, without a transaction."""

import json
import sqlite3

import msgspec

from stepwell.core.cancellations import over
from stepwell.core.model import Cancellation, Run, RunKey
from stepwell.core.retention import removable, starters
from stepwell.core.runs import holds
from stepwell.server.store.base import Cursor, Old, Prune, Pruned
from stepwell.server.store.codec import decode_run
from stepwell.server.store.ledger import Draft
from stepwell.server.store.pruning import below, beyond, first_events, made_before, told
from stepwell.server.store.sqlite.queries import SQL

_decode_cancellation = msgspec.msgpack.Decoder(Cancellation).decode


def prune(conn: sqlite3.Connection, draft: Draft, asked: Prune) -> Pruned:
    """See :meth:`Store.prune`; in the transaction of ``draft``."""
    match asked.what:
        case Old.RUNS:
            return _runs(conn, draft, asked)
        case Old.EVENTS:
            return _events(conn, asked)
        case Old.KEYS:
            return _keys(conn, asked)
        case Old.CANCELLATIONS:
            return _cancellations(conn, asked)


def _runs(conn: sqlite3.Connection, draft: Draft, asked: Prune) -> Pruned:
    rows = conn.execute(SQL.old_runs, {"below": below(asked), "limit": asked.limit}).fetchall()
    seen = [decode_run(data) for _, data in rows]
    old = [run for run in seen if run.ended_at is not None and run.ended_at < asked.before]
    gone = removable(old, _known(conn, old), _working(conn, old), asked.before) if old else set[str]()
    if gone and not asked.dry:
        ids = json.dumps(sorted(gone))
        refs = [ref for (ref,) in conn.execute(SQL.large_bodies, (ids,))]
        if refs:
            conn.execute(SQL.give_up_bodies, (json.dumps(refs),))
            draft.stale.update(refs)
        for statement in (SQL.forget_bodies, SQL.forget_steps, SQL.forget_runs):
            conn.execute(statement, (ids,))
    return told(asked, [(run.run_id,) for run in seen], len(gone))


def _known(conn: sqlite3.Connection, old: list[Run]) -> dict[str, Run]:
    """What may point at these runs."""
    found = conn.execute(SQL.runs_of_events, (json.dumps(first_events(old)),)).fetchall()
    started_by = sorted({starter for run in old for starter in starters(run)})
    if started_by:
        found += conn.execute(SQL.headers, (json.dumps(started_by),)).fetchall()
    return {run_id: decode_run(data) for run_id, data in found}


def _working(conn: sqlite3.Connection, old: list[Run]) -> set[str]:
    return {run_id for (run_id,) in conn.execute(SQL.working, (json.dumps([run.run_id for run in old]),))}


def _events(conn: sqlite3.Connection, asked: Prune) -> Pruned:
    start = beyond(asked, -1, "")
    rows = conn.execute(SQL.old_events, (*start, asked.before, asked.limit)).fetchall()
    gone = json.dumps([event_id for _, event_id, free in rows if free])
    for statement in () if asked.dry else (SQL.forget_links, SQL.forget_events):
        conn.execute(statement, (gone,))
    return told(asked, [(at, event_id) for at, event_id, _ in rows], sum(free for _, _, free in rows))


def _keys(conn: sqlite3.Connection, asked: Prune) -> Pruned:
    rows = conn.execute(SQL.old_keys, (*beyond(asked, -1, "", ""), asked.before, asked.limit)).fetchall()
    seen: list[Cursor] = [(expires_at, function_id, key) for function_id, key, expires_at, _, _ in rows]
    gone = [row[:2] for row in rows if not holds(RunKey(*row[:4]), row[4] and decode_run(row[4]), asked.before)]
    if gone and not asked.dry:
        conn.execute(SQL.forget_keys, (json.dumps(gone),))
    return told(asked, seen, len(gone))


def _cancellations(conn: sqlite3.Connection, asked: Prune) -> Pruned:
    rows = conn.execute(SQL.old_cancellations, (*beyond(asked, ""), made_before(asked), asked.limit)).fetchall()
    gone = [one for one, data, busy in rows if not busy and over(_decode_cancellation(data), asked.before)]
    if gone and not asked.dry:
        conn.execute(SQL.drop_cancellations, (json.dumps(gone),))
    return told(asked, [(one,) for one, _, _ in rows], len(gone))
