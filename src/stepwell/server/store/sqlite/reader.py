"""The verbs that read, as plain functions of the reader's thread; each sees one moment of the file."""

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from stepwell.core.flow.holding import GATES, Behind
from stepwell.core.model import Cancellation, Item, Pause, Run, RunView, StoredEvent, Wait
from stepwell.server.store.base import AppRecord, Counts, EventQuery, RunQuery, WaitQuery, WorkerRecord
from stepwell.server.store.codec import build_view, decode_event, decode_run, decode_step, stored_item
from stepwell.server.store.sqlite.queries import SQL
from stepwell.server.store.sqlite.waits import find_waits, stored_wait

_decode_cancellation = msgspec.msgpack.Decoder(Cancellation).decode
_decode_app = msgspec.msgpack.Decoder(AppRecord).decode
_decode_worker = msgspec.msgpack.Decoder(WorkerRecord).decode

_AFTER_ALL = "\U0010ffff"
"""Sorts after every id."""
_END = 2**62
"""Later than every time, and behind every byte."""


class Reader:
    """The reading connection. Used by one thread."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn

    @contextmanager
    def _moment(self) -> Generator[sqlite3.Connection]:
        self._conn.execute("BEGIN")
        try:
            yield self._conn
        finally:
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK")

    def load_runs(self, run_ids: Sequence[str]) -> list[RunView]:
        """See :meth:`Store.load_runs`."""
        with self._moment():
            views = [self._view(run_id) for run_id in dict.fromkeys(run_ids)]
        return [view for view in views if view is not None]

    def _view(self, run_id: str) -> RunView | None:
        row = self._conn.execute(SQL.run, (run_id,)).fetchone()
        if row is None:
            return None
        run = decode_run(row[0])
        events = [event.body for event_id in run.event_ids if (event := self.event(event_id)) is not None]
        return build_view(
            run, events, [decode_step(data) for (data,) in self._conn.execute(SQL.steps_of_run, (run_id,))]
        )

    def event(self, internal_id: str) -> StoredEvent | None:
        """See :meth:`Store.get_event`."""
        row = self._conn.execute(SQL.event, (internal_id,)).fetchone()
        return decode_event(row[0]) if row else None

    def list_events(self, query: EventQuery) -> list[StoredEvent]:
        """See :meth:`Store.list_events`."""
        sql = SQL.list_events if query.name is None else SQL.list_events_of_name
        at, event_id = (_END, _AFTER_ALL) if query.before is None else query.before
        values = {
            "name": query.name,
            "at": at,
            "event_id": event_id,
            "after": -1 if query.after is None else query.after,
            "until": _END if query.until is None else query.until,
            "limit": query.limit,
        }
        return [decode_event(data) for (data,) in self._conn.execute(sql, values)]

    def list_runs(self, query: RunQuery) -> list[Run]:
        """See :meth:`Store.list_runs`."""
        sql = SQL.list_runs
        if query.event_id is not None:
            sql = SQL.list_runs_of_event
        elif query.function_id is not None:
            sql = SQL.list_active_runs if query.active else SQL.list_runs_of_function
        elif query.app_id is not None:
            sql = SQL.list_runs_of_app
        elif query.status is not None:
            sql = SQL.list_runs_of_status
        values = msgspec.structs.asdict(query)
        values["before"] = _AFTER_ALL if query.before is None else query.before
        values["after"] = query.after or ""
        return [decode_run(data) for (data,) in self._conn.execute(sql, values)]

    def load_apps(self) -> list[AppRecord]:
        """See :meth:`Store.load_apps`."""
        return [_decode_app(data) for (data,) in self._conn.execute(SQL.apps)]

    def load_body(self, ref: str, start: int, end: int | None) -> bytes | int | None:
        """See :meth:`Store.load_body`. Of a body that is a file of its own: its size."""
        with self._moment():
            if end is None:
                row = self._conn.execute(SQL.body, (start, ref)).fetchone()
            else:
                row = self._conn.execute(SQL.body_part, (start, max(0, end - start), ref)).fetchone()
            if row is None:
                return None
            data, in_pieces, size = row
            if not in_pieces:
                return data if size is None else size
            where = {"ref": ref, "start": start, "end": _END if end is None else max(start, end)}
            return b"".join([data for (data,) in self._conn.execute(SQL.body_pieces, where)])

    def list_items(self, run_id: str) -> list[Item]:
        """See :meth:`Store.list_items`."""
        return [stored_item(*row) for row in self._conn.execute(SQL.items_of_run, (run_id,))]

    def parked(self, limit: int) -> list[Behind]:
        """Work that is held back, by its gate, each with up to ``limit`` of its items."""
        with self._moment():
            return [
                Behind(count, [(stored_item(*row), name or "") for *row, name in self._behind(gate, limit)])
                for gate, count in self._conn.execute(SQL.largest_gates, (GATES,)).fetchall()
            ]

    def _behind(self, gate: str, limit: int) -> list[tuple[Any, ...]]:
        return self._conn.execute(SQL.behind_gate, (gate, limit)).fetchall()

    def find_waits(self, query: WaitQuery) -> list[Wait]:
        """See :meth:`Store.find_waits`."""
        with self._moment():
            return find_waits(self._conn, query)

    def waited_places(self, name: str) -> list[Wait]:
        """See :meth:`Store.waited_places`."""
        return [stored_wait(*row) for row in self._conn.execute(SQL.waited_places, {"name": name})]

    def find_signal(self, signal: str) -> Wait | None:
        """See :meth:`Store.find_signal`."""
        row = self._conn.execute(SQL.find_signal, (signal,)).fetchone()
        return stored_wait(*row) if row else None

    def cancellations(self) -> list[Cancellation]:
        """See :meth:`Store.cancellations`."""
        return [_decode_cancellation(data) for (data,) in self._conn.execute(SQL.cancellations)]

    def workers(self) -> list[WorkerRecord]:
        """See :meth:`Store.workers`."""
        return [_decode_worker(data) for (data,) in self._conn.execute(SQL.workers)]

    def keys_of(self, function_id: str) -> list[str]:
        """See :meth:`Store.keys_of`."""
        return [key for (key,) in self._conn.execute(SQL.keys_of, (function_id,))]

    def pauses(self) -> list[Pause]:
        """See :meth:`Store.pauses`."""
        return [Pause(*row) for row in self._conn.execute(SQL.pauses)]

    def waiting_names(self) -> set[str]:
        """See :meth:`Store.waiting_names`."""
        return {name for (name,) in self._conn.execute(SQL.waiting_names)}

    def counts(self) -> Counts:
        """See :meth:`Store.counts`."""
        with self._moment():
            runs = dict(self._conn.execute(SQL.runs_by_status).fetchall())
            items, claimed = self._conn.execute(SQL.item_counts).fetchone()
        return Counts(runs, items - claimed, claimed)

    def close(self) -> None:
        """Close the connection."""
        self._conn.close()
