"""What transactions of several processes lock, so that no two of them decide on the same thing at once.

Advisory locks, as there may be no row yet. Always in this order, each kind sorted, so that nobody waits in a circle: admission
buckets; runs, keys and signals; rows of items; slots and paces. Whoever claims an item skips the rows that others have locked.
All end with the transaction.

Locks have their place in the memory that all transactions of a database share. One with very many names takes a single lock in
their place, which the others share.
"""

from collections.abc import Iterable
from enum import IntEnum
from zlib import crc32

from stepwell.core.flow.admission import Active, Gathering, State
from stepwell.core.outputs import Commit
from stepwell.server.store.codec import run_of
from stepwell.server.store.postgres.connect import Conn
from stepwell.server.store.postgres.queries import SQL


class Kind(IntEnum):
    """What is locked; the first number of the lock."""

    ADMISSION = 0x53746500
    STATE = 0x53746501
    FLOW = 0x53746502


_ALL = 0x53746510
_MANY = 1_000
"""Names from which on all of the kind are locked."""


def lock_sql(kind: Kind, names: Iterable[str]) -> str:
    """Waits until nobody else has one of the names."""
    found = sorted({crc32(name.encode("utf-8", "replace")) - 2**31 for name in names})
    if not found:
        return ""
    if len(found) > _MANY:
        return SQL.lock_all.format(all=_ALL, kind=int(kind))
    return SQL.lock.format(all=_ALL, kind=int(kind), names=",".join(map(str, found)))


async def lock(conn: Conn, kind: Kind, names: Iterable[str]) -> None:
    """Wait until nobody else has one of the names."""
    sql = lock_sql(kind, names)
    if sql:
        await conn.execute(sql)


def names_of(commit: Commit) -> set[str]:
    """Runs, keys and signals that a commit is checked against, or changes; without what is inside it."""
    names = {"run:" + run_id for run_id in _runs_of(commit)}
    if commit.key is not None:
        names.add(f"key:{commit.key.function_id}:{commit.key.key}")
    if commit.waits:
        names.update(f"signal:{wait.signal}" for wait in commit.waits if wait.signal is not None)
    return names


def _runs_of(commit: Commit) -> set[str]:
    found = {run_of(commit)}
    for records in (commit.done, commit.put, commit.steps, commit.waits):
        found.update([record.run_id for record in records])
    found.update([run_id for run_id, _ in (*commit.take, *commit.unwait)])
    return (found if commit.needs is None else {*found, commit.needs}) - {""}


def run_in(state: State) -> str | None:
    """The run that a bucket remembers."""
    return state.run_id if isinstance(state, Active | Gathering) else None
