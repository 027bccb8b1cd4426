"""Crash points in migrations of a schema: before one, in its middle, before its commit, and behind that."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace

from stepwell.server.store.migrate import Migration
from stepwell.testing.platform.crash_points import Trap

Pending = Callable[[list[Migration], int, str], list[Migration]]
Know = Callable[[sqlite3.Connection], None]
_POINT = "stepwell_crash_point"


def in_sqlite(pending: Pending, trap: Trap) -> Pending:
    """A script calls us within, by a function of the connection (:func:`known`). Each migration is a transaction."""

    def migrations(known: list[Migration], current: int, where: str) -> list[Migration]:
        def each() -> Iterator[Migration]:
            for migration in found:
                number = migration.number
                first, second = halves(migration.sql)
                begun, done = (
                    f"SELECT {_POINT}('{point}', {number});" for point in ("migration-begun", "migration-open")
                )
                trap.passes("migration-due", str(number))
                yield replace(migration, sql=f"{first}\n{begun}\n{second}\n{done}")
                trap.passes("migration-stored", str(number))

        found = pending(known, current, where)
        return _Lazy(found, each)

    return migrations


def known(know: Know, trap: Trap) -> Know:
    """What migrations may call, and the points in them."""

    def knows(conn: sqlite3.Connection) -> None:
        know(conn)
        conn.create_function(_POINT, 2, passes)

    def passes(point: str, number: int) -> None:
        trap.passes(point, str(number))

    return knows


def in_postgres(pending: Pending, trap: Trap) -> Pending:
    """Each migration comes in two halves. All of them are one transaction: none is stored before the others."""

    def migrations(known: list[Migration], current: int, where: str) -> list[Migration]:
        def each() -> Iterator[Migration]:
            for migration in found:
                first, second = halves(migration.sql)
                trap.passes("migration-due", str(migration.number))
                yield replace(migration, sql=first)
                trap.passes("migration-begun", str(migration.number))
                yield replace(migration, sql=second or "SELECT 1")
                trap.passes("migration-open", str(migration.number))

        found = pending(known, current, where)
        return _Lazy(found, each)

    return migrations


class _Lazy(list[Migration]):
    """A list whose members are made when they are come to."""

    def __init__(self, found: list[Migration], each: Callable[[], Iterator[Migration]]) -> None:
        super().__init__(found)
        self._each = each

    def __iter__(self) -> Iterator[Migration]:
        return self._each()


def halves(sql: str) -> tuple[str, str]:
    """A script cut behind a statement, near its middle; the second half of a script of one statement is empty."""
    lines = sql.splitlines(keepends=True)
    ends = [at for at in range(1, len(lines) + 1) if _whole("".join(lines[:at]))]
    cut = min(ends, key=lambda at: abs(2 * at - len(lines)), default=len(lines))
    return "".join(lines[:cut]), "".join(lines[cut:])


def _whole(script: str) -> bool:
    """Whether no statement and no quoted text is open at the end."""
    return script.rstrip().endswith(";") and script.count("$$") % 2 == 0
