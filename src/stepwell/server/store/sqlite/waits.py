"""Waits in the file: how they are written, and how they are found."""

import json
import sqlite3
from collections.abc import Sequence
from heapq import merge
from itertools import islice

import msgspec
from msgspec.structs import replace

from stepwell.core.model import Wait
from stepwell.core.outputs import Commit
from stepwell.server.store.base import WaitQuery
from stepwell.server.store.codec import encode
from stepwell.server.store.sqlite.queries import SQL, Row, write_rows
from stepwell.server.store.wait_plan import WaitPlan

_decode = msgspec.msgpack.Decoder(Wait).decode
_NO_PLACE = ("", b"")
_LAST = 2**63 - 1


def look_up_waits(conn: sqlite3.Connection, commits: Sequence[Commit]) -> WaitPlan:
    """What is stored of what the commits ask about."""
    plan = WaitPlan()
    taken = [list(where) for commit in commits for where in commit.take]
    if taken:
        plan.stored.update(conn.execute(SQL.stored_waits, (json.dumps(taken),)))
    signals = [wait.signal for commit in commits for wait in commit.waits if wait.signal is not None]
    if signals:
        rows = conn.execute(SQL.signal_holders, (json.dumps(signals),))
        plan.holders.update({signal: (run_id, step_id) for signal, run_id, step_id in rows})
    names = list({commit.waited for commit in commits if commit.waited is not None})
    if names:
        plan.names.update(name for (name,) in conn.execute(SQL.waited, (json.dumps(names),)))
    return plan


def write_waits(conn: sqlite3.Connection, plan: WaitPlan) -> None:
    """All changes."""
    if not plan.changes:
        return
    deleted = [list(where) for where, wait in plan.changes.items() if wait is None]
    if deleted:
        conn.execute(SQL.drop_waits, (json.dumps(deleted),))
    rows: list[Row] = [
        (*where, wait.seq, wait.name, *_place(wait), wait.signal, encode(wait))
        for where, wait in plan.changes.items()
        if wait is not None
    ]
    write_rows(conn, SQL.put_waits, rows)


def _place(wait: Wait) -> tuple[str, bytes]:
    return _NO_PLACE if wait.path is None else (wait.path, wait.value)


def find_waits(conn: sqlite3.Connection, query: WaitQuery) -> list[Wait]:
    """See :meth:`Store.find_waits`. One look at the index for each pair: the others are not touched."""
    end = _LAST
    if query.before is not None:
        row = conn.execute(SQL.item_seq, query.before).fetchone()
        if row is None:
            return []
        (end,) = row
    places = [_NO_PLACE, *query.at]
    rows = [
        conn.execute(SQL.find_waits, (query.name, path, value, query.after, end, query.limit)).fetchall()
        for path, value in places
    ]
    return [stored_wait(*row) for row in islice(merge(*rows), query.limit)]


def stored_wait(seq: int, data: bytes) -> Wait:
    """A wait from its row. Those of older files have their place in a column alone."""
    wait = _decode(data)
    return wait if wait.seq == seq else replace(wait, seq=seq)
