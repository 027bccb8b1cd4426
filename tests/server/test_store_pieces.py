"""Bodies in pieces on SQLite: what is left of unfinished ones goes, bit by bit; older files are read; pieces are sealed."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from stepwell.server.crypto.keys import KeyFile
from stepwell.server.store.base import PIECE_BYTES, Store, StoreError
from stepwell.server.store.migrate import load_migrations
from stepwell.server.store.sealed import SealedStore
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.server.store.sqlite.arriving import SWEEP
from stepwell.server.store.sqlite.checkpoint import EVERY_BYTES
from stepwell.server.store.sqlite.connect import APPLICATION_ID, _know
from stepwell.testing.platform.body_conformance import append, claimed, keep

SECRET = b"sk-literal-0123456789"


async def opened(folder: Path) -> SQLiteStore:
    store = SQLiteStore(folder / "stepwell.db")
    await store.open()
    return store


def rows(folder: Path, table: str) -> int:
    with sqlite3.connect(folder / "stepwell.db") as conn:
        return conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def pieces(count: int) -> list[bytes]:
    return [bytes(PIECE_BYTES)] * count


async def test_a_dead_process_leaves_no_piece(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    claim = await claimed(store)
    await append(store, claim, *pieces(3))
    await store.close()
    assert rows(tmp_path, "body_pieces") == 3
    store = await opened(tmp_path)
    await store.rescue(1)
    assert await store.load_body(claim.body) is None
    await store.close()
    assert (rows(tmp_path, "body_pieces"), rows(tmp_path, "arriving"), rows(tmp_path, "bodies")) == (0, 0, 0)


async def test_a_large_one_is_deleted_bit_by_bit_also_across_restarts(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    claim = await claimed(store)
    await append(store, claim, *pieces(3 * SWEEP))
    await store.release([claim])
    assert rows(tmp_path, "body_pieces") == 2 * SWEEP
    await store.close()
    store = await opened(tmp_path)
    await store.rescue(1)
    assert rows(tmp_path, "body_pieces") == SWEEP
    other = await claimed(store, "b")
    await append(store, other, b"x")
    assert rows(tmp_path, "body_pieces") < SWEEP + 1
    for _ in range(3):
        await store.heartbeat("me", 9)
        await store.rescue(2)
    await keep(store, other)
    assert (rows(tmp_path, "body_pieces"), rows(tmp_path, "arriving")) == (1, 0)
    assert await store.load_body(other.body) == b"x"
    await store.close()


async def test_the_log_goes_into_the_file_while_a_body_arrives(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    claim = await claimed(store)
    large = EVERY_BYTES // PIECE_BYTES
    await append(store, claim, *pieces(large))
    async with asyncio.timeout(20):
        while (tmp_path / "stepwell.db").stat().st_size < EVERY_BYTES // 2:
            await asyncio.sleep(0.01)
    await keep(store, claim)
    assert len(await store.load_body(claim.body) or b"") == large * PIECE_BYTES
    await store.close()


async def test_what_was_kept_is_there_after_the_end_of_the_process(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    claim = await claimed(store)
    await append(store, claim, *pieces(1), b"end")
    await keep(store, claim)
    await store.close()
    store = await opened(tmp_path)
    await store.rescue(1)
    assert await store.load_body(claim.body, PIECE_BYTES - 1) == b"\0end"
    await store.close()
    assert rows(tmp_path, "arriving") == 0


async def test_a_full_disk_refuses_a_piece_and_takes_it_later(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "stepwell.db", max_bytes=4 * PIECE_BYTES)
    await store.open()
    claim = await claimed(store)
    await append(store, claim, *pieces(3))
    with pytest.raises(StoreError, match="disk is full"):
        await store.append_body(claim, 3 * PIECE_BYTES, bytes(PIECE_BYTES))
    await store.release([claim])
    again = await claimed(store)
    await append(store, again, *pieces(2))
    await keep(store, again)
    assert await store.load_body(again.body) == bytes(2 * PIECE_BYTES)
    await store.close()


async def test_files_from_before_there_were_pieces_are_read(tmp_path: Path) -> None:
    conn = sqlite3.connect(tmp_path / "stepwell.db")
    _know(conn)
    for migration in load_migrations("stepwell.server.store.sqlite"):
        if migration.number <= 4:
            conn.executescript(migration.sql)
    conn.execute("INSERT INTO bodies (ref, run_id, data) VALUES ('old', 'R1', x'30313233343536373839')")
    conn.commit()
    conn.executescript(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=4;")
    conn.close()
    store = await opened(tmp_path)
    assert await store.load_body("old") == b"0123456789"
    assert await store.load_body("old", 2, 4) == b"23"
    await store.close()


async def test_pieces_are_sealed_and_stay_in_their_place(tmp_path: Path) -> None:
    def make() -> Store:
        inner = SQLiteStore(tmp_path / "stepwell.db")
        return SealedStore(inner, (), KeyFile(tmp_path / "stepwell.db.key"))

    store = make()
    await store.open()
    claim = await claimed(store)
    piece = (SECRET * (PIECE_BYTES // len(SECRET) + 1))[:PIECE_BYTES]
    await append(store, claim, piece, piece, SECRET)
    assert not [path for path in tmp_path.iterdir() if SECRET in path.read_bytes()]
    await keep(store, claim)
    assert await store.load_body(claim.body, PIECE_BYTES - 21, PIECE_BYTES) == piece[-21:]
    await store.close()
    with sqlite3.connect(tmp_path / "stepwell.db") as conn:
        (second,) = conn.execute("SELECT data FROM body_pieces ORDER BY start LIMIT 1 OFFSET 1").fetchone()
        conn.execute("UPDATE body_pieces SET data = ? WHERE start = 0", (second,))
    store = make()
    await store.open()
    with pytest.raises(StoreError, match="damaged, or was moved"):
        await store.load_body(claim.body, 0, 100)
    assert await store.load_body(claim.body, PIECE_BYTES, PIECE_BYTES + 100) == piece[:100]
    await store.close()
