"""Seals every value of a database with the newest key, table by table, in small transactions, while processes work on it.

What is sealed with that key already is passed over, so it can be stopped at any moment and begun again.
"""

import asyncio
from collections.abc import Callable

import msgspec

from stepwell.core.model import Cancellation, Wait
from stepwell.server.crypto import pieces
from stepwell.server.crypto.seal import CannotOpen, Sealer
from stepwell.server.store import reseal
from stepwell.server.store.base import PIECE_BYTES, StoreError
from stepwell.server.store.codec import decode_event, decode_item, decode_run, decode_step, encode
from stepwell.server.store.postgres.connect import Conn, Pool
from stepwell.server.store.postgres.failures import TRY_AGAIN, explained
from stepwell.server.store.postgres.queries import SQL, Row, columns
from stepwell.server.store.sealed_keys import KEY_MARK

_ROWS = 200
_TRIES = 20
_PIECES = (PIECE_BYTES, 512 * 1024)
"""How long the pieces of a body may be: as they are now, as they were before."""
_decode_cancellation = msgspec.msgpack.Decoder(Cancellation).decode
_decode_wait = msgspec.msgpack.Decoder(Wait).decode

Told = Callable[[int, int], None]
"""Of rows done, and rows in all."""


class Table(msgspec.Struct, frozen=True):
    """How a table is read beyond a place, ``size`` rows at a time, and written; ``fresh``: what is written for a row, the
    place first; None where nothing is. The first ``keys`` columns are the place, which is ``begin`` for a start."""

    read: str
    write: str
    begin: tuple[object, ...]
    fresh: Callable[[Row], Row | None]
    size: int = _ROWS


async def seal_anew(url: str, keys: Sealer, told: Told) -> int:
    """Have every value sealed with the newest of ``keys``; how many rows were written. Every process must seal with it.

    Raises StoreError, also for a value that does not open, and when a process still seals with another key: all that could
    be done by then is done.
    """
    pool = Pool(url, 1, proxied=True)
    await pool.open()
    try:
        with explained():
            written = await _all(pool, keys, told)
            if await _all(pool, keys, lambda done, total: None):
                raise StoreError(
                    "Something was sealed with an older key meanwhile: start every process with the new key before the "
                    "others in STEPWELL_ENCRYPTION_KEYS, then run `stepwell rekey` again."
                )
            marks = [KEY_MARK + key for key in sorted(keys.known) if key != keys.key]
            async with pool.transaction() as conn:
                await conn.execute(SQL.drop_apps, marks)
            return written
    except (CannotOpen, msgspec.DecodeError) as problem:
        raise StoreError(f"The database: {problem}.") from None
    finally:
        await pool.close()


async def _all(pool: Pool, keys: Sealer, told: Told) -> int:
    async with pool.transaction(snapshot=True) as conn:
        ((total,),) = await conn.fetch(SQL.sealed_rows)
    done = written = 0
    for table in _tables(keys):
        place = table.begin
        while True:
            rows, changed = await _batch(pool, table, place)
            done, written = done + len(rows), written + changed
            told(min(done, total), total)
            if len(rows) < table.size:
                break
            place = tuple(rows[-1][: len(place)])
    return written


async def _batch(pool: Pool, table: Table, place: tuple[object, ...]) -> tuple[list[Row], int]:
    """The next rows, and how many of them were written; nobody else writes them meanwhile."""
    for _ in range(_TRIES):
        try:
            async with pool.transaction() as conn:
                return await _write(conn, table, place)
        except TRY_AGAIN:
            await asyncio.sleep(0.05)
    raise StoreError("Others were in the way again and again: run `stepwell rekey` once more, it goes on from here.")


async def _write(conn: Conn, table: Table, place: tuple[object, ...]) -> tuple[list[Row], int]:
    rows: list[Row] = [tuple(row) for row in await conn.fetch(table.read, *place, table.size)]
    changes = [change for row in rows if (change := table.fresh(row)) is not None]
    if changes:
        await conn.execute(table.write, *columns(changes))
    return rows, len(changes)


def _tables(keys: Sealer) -> list[Table]:
    return [
        Table(SQL.sealed_events, SQL.reseal_events, ("",), _record(keys, decode_event, reseal.event)),
        Table(SQL.sealed_runs, SQL.reseal_runs, ("",), _record(keys, decode_run, reseal.run)),
        Table(SQL.sealed_steps, SQL.reseal_steps, ("", ""), _record(keys, decode_step, reseal.step)),
        Table(SQL.sealed_items, SQL.reseal_items, ("", ""), _record(keys, decode_item, reseal.item)),
        Table(SQL.sealed_waits, SQL.reseal_waits, ("", ""), lambda row: _wait(keys, *row)),
        Table(
            SQL.sealed_cancellations,
            SQL.reseal_cancellations,
            ("",),
            _record(keys, _decode_cancellation, reseal.cancellation),
        ),
        Table(SQL.sealed_bodies, SQL.reseal_bodies, ("",), lambda row: _body(keys, *row), 4),
        Table(SQL.sealed_pieces, SQL.reseal_pieces, ("", -1), lambda row: _piece(keys, *row), 8),
    ]


def _record(
    keys: Sealer, decode: Callable[[bytes], object], seal: Callable[..., object | None]
) -> Callable[[Row], Row | None]:
    def fresh(row: Row) -> Row | None:
        *place, data = row
        assert isinstance(data, bytes)
        found = seal(keys, decode(data))
        return None if found is None else (*place, encode(found))

    return fresh


def _wait(keys: Sealer, run_id: object, step_id: object, data: object) -> Row | None:
    assert isinstance(data, bytes)
    found = reseal.wait(keys, _decode_wait(data))
    return None if found is None else (run_id, step_id, encode(found), found.path or "", found.value)


def _body(keys: Sealer, ref: object, data: object) -> Row | None:
    assert isinstance(data, bytes)
    found = reseal.body(keys, str(ref), data)
    return None if found is None else (ref, found)


def _piece(keys: Sealer, ref: object, start: object, data: object) -> Row | None:
    assert isinstance(data, bytes)
    assert isinstance(start, int)
    length = next(one for one in _PIECES if start % pieces.sealed_size(one) == 0)
    found = reseal.piece(keys, str(ref), start // pieces.sealed_size(length) * length, data)
    return None if found is None else (ref, start, found)
