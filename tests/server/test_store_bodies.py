"""Large bodies beside SQLite: files that the database knows of, none is left over; older ones in rows; pieces are sealed."""

import asyncio
import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from stepwell.core.model import ItemRef
from stepwell.server.crypto import pieces as crypto
from stepwell.server.crypto.keys import KeyFile
from stepwell.server.crypto.seal import Sealer
from stepwell.server.store.base import PIECE_BYTES, Store, StoreError
from stepwell.server.store.migrate import load_migrations
from stepwell.server.store.sealed import SealedStore
from stepwell.server.store.sealed_records import piece_place
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.server.store.sqlite.arriving import SWEEP
from stepwell.server.store.sqlite.bodyfiles import BodyFiles, folder_of
from stepwell.server.store.sqlite.connect import APPLICATION_ID, _know
from stepwell.testing.platform.body_conformance import append, claimed, keep

SECRET = b"sk-literal-0123456789"
ROW = 512 * 1024


async def opened(folder: Path) -> SQLiteStore:
    store = SQLiteStore(folder / "stepwell.db")
    await store.open()
    return store


def rows(folder: Path, table: str) -> int:
    with sqlite3.connect(folder / "stepwell.db") as conn:
        return conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def files(folder: Path) -> list[Path]:
    return sorted(folder_of(folder / "stepwell.db").glob("*"))


def pieces(count: int) -> list[bytes]:
    return [bytes(PIECE_BYTES)] * count


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.01)


async def test_a_dead_process_leaves_no_file(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    claim = await claimed(store)
    await append(store, claim, *pieces(3))
    await store.close()
    assert [path.stat().st_size for path in files(tmp_path)] == [3 * PIECE_BYTES]
    store = await opened(tmp_path)
    await store.rescue(1)
    await until(lambda: files(tmp_path) == [])
    assert await store.load_body(claim.body) is None
    await store.close()
    store = await opened(tmp_path)  # killed before the database forgot it
    await store.heartbeat("me", 9)
    await until_swept(store, tmp_path)
    await store.close()
    assert rows(tmp_path, "bodies") == 0


async def until_swept(store: SQLiteStore, folder: Path, left: int = 0) -> None:
    async with asyncio.timeout(30):
        while rows(folder, "arriving") > left:
            await store.rescue(1)
            await asyncio.sleep(0.01)


async def test_what_is_given_up_is_deleted_and_then_forgotten(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    claim, other = await claimed(store), await claimed(store, "b")
    await append(store, claim, *pieces(2))
    await append(store, other, *pieces(2))
    await store.release([claim])
    await until(lambda: len(files(tmp_path)) == 1)
    assert not await store.append_body(claim, 2 * PIECE_BYTES, b"late")
    assert not await store.append_body(claim, 0, b"late")
    assert len(files(tmp_path)) == 1
    await store.heartbeat("me", 9)
    await until_swept(store, tmp_path, left=1)  # the file is gone a moment before that is noted
    await keep(store, other)
    assert await store.load_body(other.body) == bytes(2 * PIECE_BYTES)
    await store.close()
    assert (rows(tmp_path, "arriving"), rows(tmp_path, "bodies"), len(files(tmp_path))) == (0, 1, 1)


async def test_a_file_that_can_not_be_deleted_is_deleted_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = await opened(tmp_path)
    claim = await claimed(store)
    await append(store, claim, b"x")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", _fail)
        await store.release([claim])
        await until(lambda: "at the next start" in caplog.text)
    await store.rescue(1)
    assert (rows(tmp_path, "arriving"), len(files(tmp_path))) == (1, 1)
    await store.close()
    store = await opened(tmp_path)
    await until_swept(store, tmp_path)
    assert files(tmp_path) == []
    await store.close()


def _fail(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


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
    (file,) = files(tmp_path)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


async def test_a_body_is_on_the_disk_before_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the last piece sees to; a disk that failed once is not believed, and the body begins anew."""
    synced: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    store = await opened(tmp_path)
    claim = await claimed(store)
    await append(store, claim, b"x")
    (file,) = map(str, files(tmp_path))
    assert file not in synced
    await keep(store, claim)
    assert synced[-2:] == [file, str(folder_of(tmp_path / "stepwell.db"))]
    again = await claimed(store, "b")
    assert await store.append_body(again, 0, b"y", last=True)
    count = len(synced)
    assert synced[-2] not in (file, synced[-1])
    await keep(store, again)
    assert len(synced) == count
    await store.close()


async def test_a_disk_that_fails_keeps_no_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await opened(tmp_path)
    claim = await claimed(store)
    await append(store, claim, *pieces(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _fail)
        with pytest.raises(StoreError, match="disk failed"):
            await store.append_body(claim, PIECE_BYTES, b"x", last=True)
    with pytest.raises(StoreError, match="disk failed"):  # asked again, the system would say that all is well
        await keep(store, claim)
    assert await store.load_body(claim.body) is None
    assert await store.append_body(claim, 0, b"y", last=True)
    await keep(store, claim)
    assert await store.load_body(claim.body) == b"y"
    await store.close()


async def test_a_full_disk_refuses_a_piece_and_takes_it_later(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "stepwell.db", max_bytes=4 * PIECE_BYTES)
    await store.open()
    claim = await claimed(store)
    await append(store, claim, *pieces(4))
    with pytest.raises(StoreError, match="disk is full"):
        await store.append_body(claim, 4 * PIECE_BYTES, bytes(PIECE_BYTES))
    await store.release([claim])
    again = await claimed(store)
    await append(store, again, *pieces(2))
    await keep(store, again)
    assert await store.load_body(again.body) == bytes(2 * PIECE_BYTES)
    await store.close()


async def test_a_disk_that_takes_little_at_a_time_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, memoryview(data)[:1000], at))
    store = await opened(tmp_path)
    claim = await claimed(store)
    data = os.urandom(10_500)
    await append(store, claim, data)
    await keep(store, claim)
    assert await store.load_body(claim.body) == data
    await store.close()


async def test_a_file_that_is_missing_or_cut_short_is_an_error_that_names_it(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    claim = await claimed(store)
    await append(store, claim, b"0123456789")
    await keep(store, claim)
    (file,) = files(tmp_path)
    os.truncate(file, 5)
    with pytest.raises(StoreError, match=f"{file.name}.*cut short"):
        await store.load_body(claim.body)
    file.unlink()
    with pytest.raises(StoreError, match=f"{file.name} is missing"):
        await store.load_body(claim.body, 2, 3)
    assert await store.load_body("none") is None
    await store.close()


async def test_a_copy_of_the_database_and_then_of_the_folder_is_a_backup(tmp_path: Path) -> None:
    """While bodies arrive and are kept: those of the copied database are there, and no others."""
    source, copy = tmp_path / "a", tmp_path / "b"
    copy.mkdir()
    store = await opened(source)
    kept, later = await claimed(store), await claimed(store, "b")
    await append(store, kept, *pieces(1), b"end")
    await keep(store, kept)
    await append(store, later, *pieces(1))
    with closing(sqlite3.connect(source / "stepwell.db")) as live, closing(sqlite3.connect(copy / "stepwell.db")) as to:
        live.backup(to)
    await keep(store, later)
    shutil.copytree(folder_of(source / "stepwell.db"), folder_of(copy / "stepwell.db"))
    await store.close()
    restored = await opened(copy)
    await restored.rescue(1)
    assert await restored.load_body(kept.body, PIECE_BYTES) == b"end"
    assert await restored.load_body(later.body) is None
    await until(lambda: len(files(copy)) == 1)
    await restored.close()
    assert len(files(source)) == 2


def a_file_of_version(folder: Path, version: int, script: str = "") -> sqlite3.Connection:
    conn = sqlite3.connect(folder / "stepwell.db", isolation_level=None)
    _know(conn)
    for migration in load_migrations("stepwell.server.store.sqlite"):
        if migration.number <= version:
            conn.executescript(migration.sql)
    conn.executescript(f"{script}PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={version};")
    return conn


async def test_files_from_before_there_were_pieces_are_read(tmp_path: Path) -> None:
    whole = "INSERT INTO bodies (ref, run_id, data) VALUES ('old', 'R1', x'30313233343536373839');"
    a_file_of_version(tmp_path, 4, whole).close()
    store = await opened(tmp_path)
    assert await store.load_body("old") == b"0123456789"
    assert await store.load_body("old", 2, 4) == b"23"
    await store.close()


async def test_bodies_that_are_rows_are_read_and_unfinished_ones_deleted_bit_by_bit(tmp_path: Path) -> None:
    keys = Sealer([b"k" * 32])
    claim = ItemRef("R1", "a", 1)
    plain = [os.urandom(ROW), os.urandom(ROW), b"end"]
    conn = a_file_of_version(tmp_path, 12)
    size = crypto.sealed_size(ROW)
    for number, data in enumerate(plain):
        sealed = crypto.seal(keys, data, piece_place(claim.body, number * ROW), crypto.IN_A_ROW)
        conn.execute("INSERT INTO body_pieces VALUES (?, ?, ?)", (claim.body, number * size, sealed))
    conn.execute("INSERT INTO bodies (ref, run_id, data, pieces) VALUES (?, 'R1', x'', 1)", (claim.body,))
    conn.executemany("INSERT INTO body_pieces VALUES ('half', ?, x'00')", [(at,) for at in range(3 * SWEEP)])
    conn.execute("INSERT INTO arriving VALUES ('half', 'R1', 'b', NULL)")
    conn.close()
    store = SealedStore(SQLiteStore(tmp_path / "stepwell.db"), ["6b" * 32])
    await store.open()
    whole = b"".join(plain)
    for start, end in ((0, None), (ROW - 3, ROW + 3), (2 * ROW, None), (5, 2 * ROW + 2), (9 * ROW, None)):
        assert await store.load_body(claim.body, start, end) == whole[start:end]
    assert rows(tmp_path, "body_pieces") == 3 + 3 * SWEEP
    await store.rescue(1)
    assert rows(tmp_path, "body_pieces") == 3 + 2 * SWEEP
    assert isinstance(store.inner, SQLiteStore)
    await until_swept(store.inner, tmp_path)
    assert rows(tmp_path, "body_pieces") == 3
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
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET in path.read_bytes()]
    await keep(store, claim)
    assert await store.load_body(claim.body, PIECE_BYTES - 21, PIECE_BYTES) == piece[-21:]
    await store.close()
    size = crypto.sealed_size(PIECE_BYTES)
    data = BodyFiles(tmp_path / "stepwell.db").path(claim.body)
    found = data.read_bytes()
    data.write_bytes(found[size : 2 * size] + found[size:])
    store = make()
    await store.open()
    with pytest.raises(StoreError, match="damaged, or was moved"):
        await store.load_body(claim.body, 0, 100)
    assert await store.load_body(claim.body, PIECE_BYTES, PIECE_BYTES + 100) == piece[:100]
    await store.close()
