"""Seals every value of a closed database file with the newest key, table by table, in small transactions; then large bodies.

What is sealed with that key already is passed over, so it can be stopped at any moment and begun again.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from stepwell.core.model import Cancellation, Wait
from stepwell.server.crypto import pieces
from stepwell.server.crypto.seal import CannotOpen, Sealer
from stepwell.server.store import reseal
from stepwell.server.store.base import StoreError
from stepwell.server.store.codec import decode_event, decode_item, decode_run, decode_step, encode
from stepwell.server.store.sealed_keys import KEY_MARK
from stepwell.server.store.sqlite.bodyfiles import BodyFiles
from stepwell.server.store.sqlite.connect import connect_writer
from stepwell.server.store.sqlite.failures import explained
from stepwell.server.store.sqlite.lock import FileLock
from stepwell.server.store.sqlite.queries import SQL, Row
from stepwell.server.store.sqlite.rekeyfiles import seal_file

_ROWS = 200
_PIECE = 512 * 1024
"""Pieces of bodies that are rows have this size."""
_decode_cancellation = msgspec.msgpack.Decoder(Cancellation).decode
_decode_wait = msgspec.msgpack.Decoder(Wait).decode

Fresh = Callable[[Row], Row | None]
"""From a row: what the statement that writes it takes; None where nothing has to be written."""
Told = Callable[[int, int], None]
"""Of rows done, and rows in all."""


def seal_anew(path: Path, keys: Sealer, told: Told) -> int:
    """Have every value sealed with the newest of ``keys``; how many rows were written.

    The file must exist, and nobody may have it open. Raises StoreError, also for a value that does not open: all that could
    be done by then is done.
    """
    lock = FileLock(path)
    lock.acquire("stepwell rekey")
    try:
        with explained(path):
            conn = connect_writer(path, None)
            try:
                return _all(conn, BodyFiles(path), keys, told)
            except (CannotOpen, msgspec.DecodeError) as problem:
                raise StoreError(f"{path}: {problem}.") from None
            finally:
                conn.close()
    finally:
        lock.release()


def _all(conn: sqlite3.Connection, files: BodyFiles, keys: Sealer, told: Told) -> int:
    (total,) = conn.execute(SQL.sealed_rows).fetchone()
    done = written = 0
    for read, write, size, fresh in _tables(keys):
        for rows in _batches(conn, read, size):
            changes = [change for row in rows if (change := fresh(row)) is not None]
            _write(conn, [(write, changes)])
            done, written = done + len(rows), written + len(changes)
            told(min(done, total), total)
    for ref, *_ in conn.execute(SQL.all_arriving):  # nobody's any longer
        files.path(ref).unlink(missing_ok=True)
    for rows in _batches(conn, SQL.bodies_in_files, _ROWS):
        for _, ref in rows:
            written += seal_file(files.path(str(ref)), str(ref), keys)
            done += 1
            told(min(done, total), total)
    _forget(conn, keys)
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return written


def _batches(conn: sqlite3.Connection, read: str, size: int) -> Iterator[list[Row]]:
    last = -(2**63)
    while rows := conn.execute(read, (last, size)).fetchall():
        yield rows
        last = rows[-1][0]


def _write(conn: sqlite3.Connection, work: Iterable[tuple[str, list[Row]]]) -> None:
    conn.execute("BEGIN IMMEDIATE")
    try:
        for statement, rows in work:
            conn.executemany(statement, rows)
        conn.execute("COMMIT")
    except BaseException:
        conn.execute("ROLLBACK")
        raise


def _forget(conn: sqlite3.Connection, keys: Sealer) -> None:
    """Nothing is sealed with the other keys any more: the file asks for them no longer."""
    known = (KEY_MARK + key for key in sorted(keys.known) if key != keys.key)
    _write(conn, [(SQL.drop_app, [(name,) for name in known])])


def _tables(keys: Sealer) -> list[tuple[str, str, int, Fresh]]:
    """For each table: how it is read, how it is written, how many rows at once, and what is done to one."""
    return [
        (SQL.sealed_events, SQL.reseal_event, _ROWS, _record(keys, decode_event, reseal.event)),
        (SQL.sealed_runs, SQL.reseal_run, _ROWS, _record(keys, decode_run, reseal.run)),
        (SQL.sealed_steps, SQL.reseal_step, _ROWS, _record(keys, decode_step, reseal.step)),
        (SQL.sealed_items, SQL.reseal_item, _ROWS, _record(keys, decode_item, reseal.item)),
        (SQL.sealed_waits, SQL.reseal_wait, _ROWS, lambda row: _wait(keys, *row)),
        (
            SQL.sealed_cancellations,
            SQL.reseal_cancellation,
            _ROWS,
            _record(keys, _decode_cancellation, reseal.cancellation),
        ),
        (SQL.sealed_bodies, SQL.reseal_body, 1, lambda row: _body(keys, *row)),
        (SQL.sealed_pieces, SQL.reseal_piece, 8, lambda row: _piece(keys, *row)),
    ]


def _record(keys: Sealer, decode: Callable[[bytes], object], seal: Callable[..., object | None]) -> Fresh:
    def fresh(row: Row) -> Row | None:
        where, data = row
        assert isinstance(data, bytes)
        found = seal(keys, decode(data))
        return None if found is None else (encode(found), where)

    return fresh


def _wait(keys: Sealer, seq: object, data: object) -> Row | None:
    assert isinstance(data, bytes)
    found = reseal.wait(keys, _decode_wait(data))
    if found is None:
        return None
    return (encode(found), found.path or "", found.value, seq, found.run_id, found.step_id)


def _body(keys: Sealer, where: object, ref: object, data: object) -> Row | None:
    assert isinstance(data, bytes)
    found = reseal.body(keys, str(ref), data)
    return None if found is None else (found, where)


def _piece(keys: Sealer, where: object, ref: object, start: object, data: object) -> Row | None:
    assert isinstance(data, bytes)
    assert isinstance(start, int)
    found = reseal.piece(keys, str(ref), start // pieces.sealed_size(_PIECE) * _PIECE, data)
    return None if found is None else (found, where)
