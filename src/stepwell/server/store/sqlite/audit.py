"""A database file, read while its owner works on it."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from stepwell.core.invariants import Stored
from stepwell.server.store.auditing import Slots
from stepwell.server.store.base import StoreError
from stepwell.server.store.codec import decode_item, decode_run, decode_step, stored_item
from stepwell.server.store.migrate import load_migrations
from stepwell.server.store.sqlite.lane import Lane
from stepwell.server.store.sqlite.queries import SQL

_T = TypeVar("_T")
_BUSY_S = 5.0


class SQLiteAudit:
    """See :class:`Audited`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lane = Lane[sqlite3.Connection](path, "stepwell-audit")

    async def open(self) -> None:
        """Raises StoreError, also for a file of another version."""
        await self._lane.start(self._connect)
        wanted = len(load_migrations(__package__ or ""))
        ((version,),) = await self._lane.do(lambda conn: conn.execute("PRAGMA user_version").fetchall())
        if version != wanted:
            await self.close()
            raise StoreError(
                f"{self._path} has schema {version}, this Stepwell knows {wanted}: use the platform's version."
            )

    def _connect(self) -> sqlite3.Connection:
        uri = f"{self._path.absolute().as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)

    async def runs(self, after: str, limit: int) -> list[Stored]:
        """See :meth:`Audited.runs`."""
        return await self._moment(lambda conn: _all(conn, conn.execute(SQL.runs_after, (after, limit)).fetchall()))

    async def these(self, run_ids: Sequence[str]) -> list[Stored]:
        """See :meth:`Audited.these`."""
        return await self._moment(
            lambda conn: _all(conn, [row for one in run_ids for row in conn.execute(SQL.run, (one,)).fetchall()])
        )

    async def slots(self) -> Slots:
        """See :meth:`Audited.slots`."""
        return await self._moment(_slots)

    async def close(self) -> None:
        """See :meth:`Audited.close`."""
        await self._lane.stop(sqlite3.Connection.close)

    async def _moment(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        def read(conn: sqlite3.Connection) -> _T:
            conn.execute("BEGIN")
            try:
                return work(conn)
            finally:
                conn.execute("ROLLBACK")

        return await self._lane.do(read)


def _all(conn: sqlite3.Connection, rows: Sequence[tuple[bytes]]) -> list[Stored]:
    return [_stored(conn, data) for (data,) in rows]


def _stored(conn: sqlite3.Connection, data: bytes) -> Stored:
    run = decode_run(data)
    where = (run.run_id,)
    return Stored(
        run=run,
        steps=[decode_step(step) for (step,) in conn.execute(SQL.steps_of_run, where)],
        items=[stored_item(*row) for row in conn.execute(SQL.items_of_run, where)],
        waits=[step_id for (step_id,) in conn.execute(SQL.waits_of_run, where)],
    )


def _slots(conn: sqlite3.Connection) -> Slots:
    claimed = [decode_item(row[-1]) for row in conn.execute(SQL.claimed_items)]
    return Slots(claimed, dict(Counter(bucket for _, bucket in conn.execute(SQL.holds))))
