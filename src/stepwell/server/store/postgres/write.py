"""Writes a plan: few statements, each for many rows, in the order of their keys."""

from collections.abc import Sequence

from msgspec.structs import replace

from stepwell.core.flow.admission import idle_at
from stepwell.core.model import Item, Wait
from stepwell.server.store.codec import encode
from stepwell.server.store.plan import Plan
from stepwell.server.store.postgres.connect import Conn
from stepwell.server.store.postgres.queries import SQL, Row, columns
from stepwell.server.store.postgres.session import FRESH, Session

_NO_PLACE = ("", b"")


class Numbers:
    """The real numbers for provisional ones: places in the queue, and claims."""

    def __init__(self, places: Sequence[int], claims: Sequence[int]) -> None:
        self._places = places
        self._claims = claims

    def place(self, seq: int) -> int:
        """A place in the queue."""
        return self._places[seq - FRESH - 1] if seq > FRESH else seq

    def claim(self, number: int) -> int:
        """The number of a claim that this transaction makes; 0 stays."""
        return self._claims[number - 1] if number else 0


async def take_numbers(session: Session) -> Numbers:
    """As many as the plan has used."""
    draft = session.draft
    places, claims = draft.seq - FRESH, draft.claim
    if not places and not claims:
        return Numbers((), ())
    ((seqs, numbers),) = await session.conn.fetch(SQL.numbers, places, claims)
    return Numbers(seqs, numbers)


async def write(session: Session, plan: Plan, owner: str, claimed: list[Item], now: int) -> list[Item]:
    """All rows of the plan; ``owner`` is who claims the stored items in it. The claimed items, with their numbers."""
    numbers = await take_numbers(session)
    conn = session.conn
    await _write_state(session, plan)
    await _write_waits(conn, plan, numbers)
    await _write_items(session, plan, numbers)
    if plan.claimed:
        rows = [(seq, numbers.claim(claim)) for seq, claim in sorted(plan.claimed)]
        await conn.execute(SQL.claim_items, owner, *columns(rows))
    await session.write_flow(now)
    await session.settle_bodies()
    if plan.admissions:
        await _write_admissions(conn, plan)
    return [replace(item, claim=numbers.claim(item.claim)) for item in claimed]


async def _rows(conn: Conn, sql: str, rows: Sequence[Row]) -> None:
    if rows:
        await conn.execute(sql, *columns(rows))


async def _write_events(session: Session, plan: Plan) -> None:
    rows = [(name, each.received_at, each.name, encode(each)) for name, each in sorted(plan.events.items())]
    if rows:
        done = await session.conn.execute(SQL.put_events, *columns(rows))
        session.repeats = int(done.rpartition(" ")[2]) < len(rows)


async def _write_state(session: Session, plan: Plan) -> None:
    conn = session.conn
    await _write_events(session, plan)
    keys = [(*where, key.expires_at, key.run_id) for where, key in sorted(plan.keys.items())]
    await _rows(conn, SQL.put_keys, keys)
    runs = [
        (run_id, run.function_id, run.app_id, run.status.value, run.version, run.queued_at, encode(run))
        for run_id, run in sorted(plan.runs.items())
    ]
    await _rows(conn, SQL.put_runs, runs)
    await _rows(conn, SQL.put_links, sorted(set(plan.links)))
    await _rows(conn, SQL.put_steps, [(*where, encode(step)) for where, step in sorted(plan.steps.items())])
    cancellations = {one.cancellation_id: encode(one) for one in plan.cancellations}
    await _rows(conn, SQL.put_cancellations, sorted(cancellations.items()))
    await _rows(conn, SQL.put_bodies, [(ref, body.run_id, body.data) for ref, body in sorted(plan.bodies.items())])


async def _write_waits(conn: Conn, plan: Plan, numbers: Numbers) -> None:
    changes = sorted(plan.known.waits.changes.items())
    await _rows(conn, SQL.drop_waits, [where for where, wait in changes if wait is None])
    rows = [_wait_row(wait, numbers) for _, wait in changes if wait is not None]
    await _rows(conn, SQL.put_waits, rows)


def _wait_row(wait: Wait, numbers: Numbers) -> Row:
    seq = numbers.place(wait.seq)
    place = _NO_PLACE if wait.path is None else (wait.path, wait.value)
    return (wait.run_id, wait.step_id, seq, wait.name, *place, wait.signal, encode(replace(wait, seq=seq)))


async def _write_items(session: Session, plan: Plan, numbers: Numbers) -> None:
    conn = session.conn
    gone = {*plan.deleted, *(seq for run_id in plan.drops for seq in session.places.get(run_id, ()))}
    if gone:
        await conn.execute(SQL.delete_items, sorted(gone))
    puts = [
        (
            *where,
            numbers.place(put.seq),
            put.item.due_at,
            numbers.claim(put.claim),
            put.owner,
            put.gate,
            put.attempt,
            put.item.rescues,
            put.item.expires_at,
            encode(put.item),
        )
        for where, put in sorted(plan.puts.items(), key=lambda pair: pair[0])
    ]
    await _rows(conn, SQL.put_items, puts)
    await _rows(conn, SQL.touch_items, [(*where, attempt) for where, attempt in sorted(plan.touched.items())])
    await _rows(conn, SQL.park_items, [(seq, gate) for gate, seq in sorted(plan.parked)])


async def _write_admissions(conn: Conn, plan: Plan) -> None:
    changes = sorted(plan.admissions.items(), key=lambda pair: pair[0])
    kept = [(bucket, encode(state), idle_at(state)) for bucket, state in changes if state is not None]
    await _rows(conn, SQL.put_admissions, kept)
    if len(kept) < len(changes):
        await conn.execute(SQL.drop_admissions, [bucket for bucket, state in changes if state is None])
