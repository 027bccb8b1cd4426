"""Writes a plan: one statement for what nearly all have, and one for each kind of the rest; rows in the order of their keys."""

from collections.abc import Sequence
from typing import cast

from msgspec.structs import replace

from stepwell.core.flow.admission import idle_at
from stepwell.core.model import Item, Wait
from stepwell.server.store.codec import encode
from stepwell.server.store.plan import Plan
from stepwell.server.store.postgres.connect import Conn
from stepwell.server.store.postgres.queries import SQL, Row, columns, texts, whole
from stepwell.server.store.postgres.session import FRESH, Session

_NO_PLACE = ("", b"")
_WHOLE = (2, 7, 13, 14, 21, 24, 25, 26, 29, 30, 31)
"""The arrays of whole numbers among the values of ``write`` that go as texts; ``_TEXTS``: those of texts."""
_TEXTS = (1, 3, 5, 6, 8, 9, 10, 11, 12, 16, 17, 18, 19, 22, 23, 27, 28)


async def write(session: Session, plan: Plan, owner: str, claimed: list[Item], now: int) -> list[Item]:
    """All rows of the plan; ``owner`` is who claims the stored items in it. The claimed items, with their numbers."""
    conn = session.conn
    await _rows(conn, SQL.touch_items, [(*where, attempt) for where, attempt in sorted(plan.touched.items())])
    places, claims = await _write_most(session, plan, owner)
    await _write_others(conn, plan)
    await _write_waits(conn, plan, places)
    await _rows(conn, SQL.park_items, [(seq, gate) for gate, seq in sorted(plan.parked)])
    await session.write_flow(now)
    await session.settle_bodies()
    if plan.admissions:
        await _write_admissions(conn, plan)
    return [replace(item, claim=claims[item.claim - 1]) for item in claimed]


async def _write_most(session: Session, plan: Plan, owner: str) -> tuple[list[int], list[int]]:
    """The real numbers for the provisional ones: places in the queue, and claims."""
    numbers = (session.draft.seq - FRESH, session.draft.claim)
    gone, replaced = _gone(session, plan)
    claimed = columns(sorted(plan.claimed), 2)
    parts = [*_state(plan), gone, *_puts(plan), owner, *claimed, *numbers, replaced]
    if not any(part for part in parts if part != owner):
        return [], []
    for at in _WHOLE:
        parts[at - 1] = whole(cast("list[int | None]", parts[at - 1]))
    for at in _TEXTS:
        parts[at - 1] = texts(cast("list[str | None]", parts[at - 1]))
    ((places, claims, events),) = await session.conn.fetch(SQL.write, *parts)
    session.repeats = events < len(plan.events)
    return places, claims


async def _rows(conn: Conn, sql: str, rows: Sequence[Row]) -> None:
    if rows:
        await conn.execute(sql, *columns(rows))


def _state(plan: Plan) -> list[list[object]]:
    """Columns of events, keys, runs, links and steps."""
    events = [(name, each.received_at, each.name, encode(each)) for name, each in sorted(plan.events.items())]
    keys = [(*where, key.expires_at, key.run_id) for where, key in sorted(plan.keys.items())]
    runs = [
        (run_id, run.function_id, run.app_id, run.status.value, run.version, run.queued_at, encode(run))
        for run_id, run in sorted(plan.runs.items())
    ]
    steps = [(*where, encode(step)) for where, step in sorted(plan.steps.items())]
    return [
        *columns(events, 4),
        *columns(keys, 4),
        *columns(runs, 7),
        *columns(sorted(set(plan.links)), 2),
        *columns(steps, 3),
    ]


def _gone(session: Session, plan: Plan) -> tuple[list[int], list[int]]:
    """Places of items that are deleted; and of those that are gone as well, whose row another item takes over."""
    gone = {*plan.deleted, *(seq for run_id in plan.drops for seq in session.places.get(run_id, {}).values())}
    replaced = gone & session.stored_places(plan.puts)
    return sorted(gone - replaced), sorted(replaced)


def _puts(plan: Plan) -> list[list[object]]:
    puts = [
        (
            *where,
            put.seq - FRESH,
            put.item.due_at,
            put.claim,
            put.owner,
            put.gate,
            put.attempt,
            put.item.rescues,
            put.item.expires_at,
            encode(put.item),
        )
        for where, put in sorted(plan.puts.items(), key=lambda pair: pair[0])
    ]
    return columns(puts, 11)


async def _write_others(conn: Conn, plan: Plan) -> None:
    """What few transactions have."""
    cancellations = {one.cancellation_id: encode(one) for one in plan.cancellations}
    await _rows(conn, SQL.put_cancellations, sorted(cancellations.items()))
    await _rows(conn, SQL.put_bodies, [(ref, body.run_id, body.data) for ref, body in sorted(plan.bodies.items())])


async def _write_waits(conn: Conn, plan: Plan, places: Sequence[int]) -> None:
    changes = sorted(plan.known.waits.changes.items())
    await _rows(conn, SQL.drop_waits, [where for where, wait in changes if wait is None])
    rows = [_wait_row(wait, places[wait.seq - FRESH - 1]) for _, wait in changes if wait is not None]
    await _rows(conn, SQL.put_waits, rows)


def _wait_row(wait: Wait, seq: int) -> Row:
    place = _NO_PLACE if wait.path is None else (wait.path, wait.value)
    return (wait.run_id, wait.step_id, seq, wait.name, *place, wait.signal, encode(replace(wait, seq=seq)))


async def _write_admissions(conn: Conn, plan: Plan) -> None:
    changes = sorted(plan.admissions.items(), key=lambda pair: pair[0])
    kept = [(bucket, encode(state), idle_at(state)) for bucket, state in changes if state is not None]
    await _rows(conn, SQL.put_admissions, kept)
    if len(kept) < len(changes):
        await conn.execute(SQL.drop_admissions, [bucket for bucket, state in changes if state is None])
