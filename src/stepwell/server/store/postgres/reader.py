"""The verbs that read; each sees one moment of the database."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from stepwell.core.flow.gates import Shut, shut_by
from stepwell.core.flow.holding import GATES, Behind, Holding, holdings
from stepwell.core.model import Cancellation, Item, Pause, Run, RunView, Step, StoredEvent, Wait
from stepwell.server.store.base import AppRecord, Counts, EventQuery, RunQuery, WaitQuery, WorkerRecord
from stepwell.server.store.codec import build_view, decode_event, decode_run, decode_step, stored_item
from stepwell.server.store.postgres.connect import Conn
from stepwell.server.store.postgres.queries import SQL
from stepwell.server.store.postgres.session import Session

_decode_cancellation = msgspec.msgpack.Decoder(Cancellation).decode
_decode_app = msgspec.msgpack.Decoder(AppRecord).decode
_decode_worker = msgspec.msgpack.Decoder(WorkerRecord).decode
_decode_wait = msgspec.msgpack.Decoder(Wait).decode

_AFTER_ALL = "\U0010ffff"
_END = 2**62
_ALL = 2**30
"""More bytes than a value can have."""


async def load_runs(conn: Conn, run_ids: Sequence[str]) -> list[RunView]:
    """See :meth:`Store.load_runs`."""
    runs = {run_id: decode_run(data) for run_id, data in await conn.fetch(SQL.headers, list(run_ids))}
    if not runs:
        return []
    steps: dict[str, list[Step]] = defaultdict(list)
    for run_id, data in await conn.fetch(SQL.steps_of_runs, list(runs)):
        steps[run_id].append(decode_step(data))
    wanted = list({event_id for run in runs.values() for event_id in run.event_ids})
    events = {event_id: decode_event(data) for event_id, data in await conn.fetch(SQL.events_by_id, wanted)}
    ordered = [runs[run_id] for run_id in dict.fromkeys(run_ids) if run_id in runs]
    return [
        build_view(run, [events[one].body for one in run.event_ids if one in events], steps[run.run_id])
        for run in ordered
    ]


async def get_event(conn: Conn, internal_id: str) -> StoredEvent | None:
    """See :meth:`Store.get_event`."""
    for _, data in await conn.fetch(SQL.events_by_id, [internal_id]):
        return decode_event(data)
    return None


async def list_events(conn: Conn, query: EventQuery) -> list[StoredEvent]:
    """See :meth:`Store.list_events`."""
    at, event_id = (_END, _AFTER_ALL) if query.before is None else query.before
    after = -1 if query.after is None else query.after
    until = _END if query.until is None else query.until
    rows = await conn.fetch(SQL.list_events, at, event_id, after, until, query.name, query.limit)
    return [decode_event(data) for (data,) in rows]


async def list_runs(conn: Conn, query: RunQuery) -> list[Run]:
    """See :meth:`Store.list_runs`."""
    before = _AFTER_ALL if query.before is None else query.before
    values = [before, query.after or "", query.status, query.function_id, query.app_id, query.limit]
    sql = SQL.list_runs
    if query.event_id is not None:
        sql = SQL.list_runs_of_event
        values.append(query.event_id)
    elif query.active:
        sql = SQL.list_active_runs
    return [decode_run(data) for (data,) in await conn.fetch(sql, *values)]


async def load_apps(conn: Conn) -> list[AppRecord]:
    """See :meth:`Store.load_apps`."""
    return [_decode_app(data) for (data,) in await conn.fetch(SQL.apps)]


async def load_body(conn: Conn, ref: str, start: int, end: int | None) -> bytes | None:
    """See :meth:`Store.load_body`."""
    size = _ALL if end is None else min(max(0, end - start), _ALL)
    rows = await conn.fetch(SQL.body, ref, min(start, _ALL), size)
    if not rows:
        return None
    ((data, pieces),) = rows
    if not pieces:
        return data
    stop = _END if end is None else max(start, end)
    return b"".join([piece for (piece,) in await conn.fetch(SQL.body_pieces, ref, start, stop)])


async def list_items(conn: Conn, run_id: str) -> list[Item]:
    """See :meth:`Store.list_items`."""
    return [stored_item(*row) for row in await conn.fetch(SQL.items_of_run, run_id)]


async def waits(conn: Conn, run_id: str, now: int) -> dict[str, Shut]:
    """See :meth:`Store.waits`."""
    items = [stored_item(*row) for row in await conn.fetch(SQL.due_of_run, run_id, now)]
    session = Session(conn)
    session.flow_locked = True  # nothing is changed: one moment is enough
    await session.know(items)
    draft = session.draft
    found = ((item.key, shut_by(item, draft.used, draft.flow, now, draft.held_by(run_id))) for item in items)
    return {key: shut for key, shut in found if shut is not None}


async def held(conn: Conn, now: int, limit: int) -> list[Holding]:
    """See :meth:`Store.held`."""
    groups: dict[str, Behind] = {}
    for gate, count, data, claim, attempt, rescues, name in await conn.fetch(SQL.held_items, GATES, max(1, limit)):
        item = stored_item(data, claim, attempt, rescues)
        groups.setdefault(gate, Behind(count, [])).items.append((item, name or ""))
    session = Session(conn)
    session.flow_locked = True  # nothing is changed: one moment is enough
    await session.know([item for group in groups.values() for item, _ in group.items])
    draft = session.draft
    return holdings(
        groups.values(),
        lambda item: shut_by(item, draft.used, draft.flow, now, draft.held_by(item.run_id)),
        limit,
    )


async def find_waits(conn: Conn, query: WaitQuery) -> list[Wait]:
    """See :meth:`Store.find_waits`."""
    end = _END
    if query.before is not None:
        rows = await conn.fetch(SQL.item_seq, *query.before)
        if not rows:
            return []
        ((end,),) = rows
    places = [("", b""), *query.at]
    paths, values = [path for path, _ in places], [value for _, value in places]
    found = await conn.fetch(SQL.find_waits, query.name, paths, values, query.after, end, query.limit)
    return [_wait(*row) for row in found]


def _wait(seq: int, data: bytes) -> Wait:
    wait = _decode_wait(data)
    return wait if wait.seq == seq else replace(wait, seq=seq)


async def waited_places(conn: Conn, name: str) -> list[Wait]:
    """See :meth:`Store.waited_places`."""
    return [_wait(*row) for row in await conn.fetch(SQL.waited_places, name)]


async def find_signal(conn: Conn, signal: str) -> Wait | None:
    """See :meth:`Store.find_signal`."""
    for row in await conn.fetch(SQL.find_signal, signal):
        return _wait(*row)
    return None


async def cancellations(conn: Conn) -> list[Cancellation]:
    """See :meth:`Store.cancellations`."""
    return [_decode_cancellation(data) for (data,) in await conn.fetch(SQL.cancellations)]


async def workers(conn: Conn) -> list[WorkerRecord]:
    """See :meth:`Store.workers`."""
    return [_decode_worker(data) for (data,) in await conn.fetch(SQL.workers)]


async def keys_of(conn: Conn, function_id: str) -> list[str]:
    """See :meth:`Store.keys_of`."""
    return [key for (key,) in await conn.fetch(SQL.keys_of, function_id)]


async def pauses(conn: Conn) -> list[Pause]:
    """See :meth:`Store.pauses`."""
    return [Pause(*row) for row in await conn.fetch(SQL.pauses)]


async def waiting_names(conn: Conn) -> set[str]:
    """See :meth:`Store.waiting_names`."""
    return {name for (name,) in await conn.fetch(SQL.waiting_names)}


async def counts(conn: Conn) -> Counts:
    """See :meth:`Store.counts`."""
    runs = dict(await conn.fetch(SQL.runs_by_status))
    ((items, claimed),) = await conn.fetch(SQL.item_counts)
    return Counts(runs, items - claimed, claimed)
