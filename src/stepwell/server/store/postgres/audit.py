"""A PostgreSQL database, read while processes work on it."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from stepwell.core.invariants import Stored
from stepwell.core.model import Item, Step
from stepwell.server.store.auditing import Slots
from stepwell.server.store.codec import decode_item, decode_run, decode_step, stored_item
from stepwell.server.store.postgres.connect import Conn, Pool
from stepwell.server.store.postgres.failures import explained
from stepwell.server.store.postgres.queries import SQL


class PostgresAudit:
    """See :class:`Audited`."""

    def __init__(self, url: str) -> None:
        self._pool = Pool(url, 1, proxied=True)

    async def open(self) -> None:
        """Raises StoreError."""
        await self._pool.open()

    async def runs(self, after: str, limit: int) -> list[Stored]:
        """See :meth:`Audited.runs`."""
        with explained():
            async with self._pool.transaction(snapshot=True) as conn:
                return await _all(conn, await conn.fetch(SQL.runs_after, after, limit))

    async def these(self, run_ids: Sequence[str]) -> list[Stored]:
        """See :meth:`Audited.these`."""
        with explained():
            async with self._pool.transaction(snapshot=True) as conn:
                return await _all(conn, await conn.fetch(SQL.headers, list(run_ids)))

    async def slots(self) -> Slots:
        """See :meth:`Audited.slots`."""
        with explained():
            async with self._pool.transaction(snapshot=True) as conn:
                claimed = [decode_item(data) for (data,) in await conn.fetch(SQL.claimed_items)]
                return Slots(claimed, dict(await conn.fetch(SQL.holders)))

    async def close(self) -> None:
        """See :meth:`Audited.close`."""
        await self._pool.close()


async def _all(conn: Conn, rows: Sequence[Any]) -> list[Stored]:
    ids = [run_id for run_id, _ in rows]
    steps: dict[str, list[Step]] = defaultdict(list)
    items: dict[str, list[Item]] = defaultdict(list)
    waits: dict[str, list[str]] = defaultdict(list)
    for run_id, data in await conn.fetch(SQL.steps_of_runs, ids):
        steps[run_id].append(decode_step(data))
    for run_id, *row in await conn.fetch(SQL.items_of_runs, ids):
        items[run_id].append(stored_item(*row))
    for run_id, step_id in await conn.fetch(SQL.waits_of_runs, ids):
        waits[run_id].append(step_id)
    return [
        Stored(run=decode_run(data), steps=steps[run_id], items=items[run_id], waits=waits[run_id])
        for run_id, data in rows
    ]
