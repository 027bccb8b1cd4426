"""Deletes what is old, a few records in one transaction.

A run is locked as whoever writes to it locks it, and only then is it known that nothing points at it: a repetition of it is
stored under the same lock (``Commit.needs``). So an event of a stored run is there for as long as that run.
"""

import msgspec

from stepwell.core.cancellations import over
from stepwell.core.model import Cancellation, Run, RunKey
from stepwell.core.retention import removable, starters
from stepwell.core.runs import holds
from stepwell.server.store.base import Cursor, Old, Prune, Pruned
from stepwell.server.store.codec import decode_run
from stepwell.server.store.postgres.connect import Conn
from stepwell.server.store.postgres.locks import Kind, lock
from stepwell.server.store.postgres.queries import SQL, columns
from stepwell.server.store.pruning import ENDED, below, beyond, first_events, made_before, told

_decode_cancellation = msgspec.msgpack.Decoder(Cancellation).decode


async def prune(conn: Conn, asked: Prune) -> Pruned:
    """See :meth:`Store.prune`."""
    match asked.what:
        case Old.RUNS:
            return await _runs(conn, asked)
        case Old.EVENTS:
            return await _events(conn, asked)
        case Old.KEYS:
            return await _keys(conn, asked)
        case Old.CANCELLATIONS:
            return await _cancellations(conn, asked)


async def _runs(conn: Conn, asked: Prune) -> Pruned:
    rows = await conn.fetch(SQL.old_runs, list(ENDED), below(asked), asked.limit)
    seen = [decode_run(data) for _, data in rows]
    old = [run for run in seen if run.ended_at is not None and run.ended_at < asked.before]
    gone = await _free(conn, old, asked.before) if old else []
    if gone and not asked.dry:
        refs = [ref for (ref,) in await conn.fetch(SQL.row_bodies, gone)]
        if refs:
            await conn.execute(SQL.drop_pieces, refs)
        for statement in (SQL.forget_bodies, SQL.forget_steps, SQL.forget_runs):
            await conn.execute(statement, gone)
    return told(asked, [(run.run_id,) for run in seen], len(gone))


async def _free(conn: Conn, old: list[Run], before: int) -> list[str]:
    """Those of these runs that may go; nobody else writes to them from here on."""
    ids = [run.run_id for run in old]
    await lock(conn, Kind.STATE, [f"run:{run_id}" for run_id in ids])
    found = await conn.fetch(SQL.runs_of_events, first_events(old))
    started_by = sorted({starter for run in old for starter in starters(run)})
    found += await conn.fetch(SQL.headers, started_by)
    known = {run_id: decode_run(data) for run_id, data in found}
    busy = {run_id for (run_id,) in await conn.fetch(SQL.working, ids)}
    return sorted(removable(old, known, busy, before))


async def _events(conn: Conn, asked: Prune) -> Pruned:
    at, event_id = beyond(asked, -1, "")
    rows = await conn.fetch(SQL.old_events, at, event_id, asked.before, asked.limit)
    gone = [event_id for _, event_id, free in rows if free]
    for statement in () if asked.dry or not gone else (SQL.forget_links, SQL.forget_events):
        await conn.execute(statement, gone)
    return told(asked, [(at, event_id) for at, event_id, _ in rows], len(gone))


async def _keys(conn: Conn, asked: Prune) -> Pruned:
    rows = await conn.fetch(SQL.old_keys, *beyond(asked, -1, "", ""), asked.before, asked.limit)
    seen: list[Cursor] = []
    gone: list[tuple[object, ...]] = []
    for function_id, key, expires_at, run_id, data in rows:
        seen.append((expires_at, function_id, key))
        if not holds(RunKey(function_id, key, expires_at, run_id), data and decode_run(data), asked.before):
            gone.append((function_id, key, expires_at))
    if gone and not asked.dry:
        await conn.execute(SQL.forget_keys, *columns(gone))
    return told(asked, seen, len(gone))


async def _cancellations(conn: Conn, asked: Prune) -> Pruned:
    rows = await conn.fetch(SQL.old_cancellations, *beyond(asked, ""), made_before(asked), asked.limit)
    gone = [one for one, data, busy in rows if not busy and over(_decode_cancellation(data), asked.before)]
    if gone and not asked.dry:
        await conn.execute(SQL.drop_cancellations, gone)
    return told(asked, [(one,) for one, _, _ in rows], len(gone))
