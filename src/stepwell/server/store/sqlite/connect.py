"""Opening the file: folder, mode, pragmas, schema."""

import os
import sqlite3
from pathlib import Path

from stepwell.server.store.base import StoreError
from stepwell.server.store.codec import decode_event, decode_run
from stepwell.server.store.migrate import load_migrations, pending

APPLICATION_ID = 0x53746570
"""Marks the file as ours ("Step")."""

_BUSY_S = 5.0
_WAL_LIMIT = 64 * 1024 * 1024
_LOG_PAGES = 4_000
"""Pages in the log from which on a commit moves them into the file."""


def prepare(path: Path) -> None:
    """Make the folder, and an empty file that only its owner may read. Raises StoreError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"{path}: the database cannot be made or opened here ({error.strerror}).") from error


def connect_writer(path: Path, max_bytes: int | None) -> sqlite3.Connection:
    """The one connection that writes, with the schema up to date."""
    conn = _connect(path)
    try:
        version = _check_ours(conn, path)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=OFF"):
            conn.execute(f"PRAGMA {pragma}").fetchall()
        conn.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}").fetchall()
        conn.execute(f"PRAGMA journal_size_limit={_WAL_LIMIT}").fetchall()
        _migrate(conn, path, version)
        if max_bytes is not None:
            limit_size(conn, max_bytes)
    except BaseException:
        conn.close()
        raise
    return conn


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads."""
    conn = _connect(path)
    conn.execute("PRAGMA query_only=ON")
    return conn


def limit_size(conn: sqlite3.Connection, max_bytes: int) -> None:
    """Let the file grow to ``max_bytes``; beyond that, writes fail as on a full disk."""
    (page_size,) = conn.execute("PRAGMA page_size").fetchone()
    conn.execute(f"PRAGMA max_page_count={max(1, max_bytes // page_size)}").fetchall()


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=256)


def _check_ours(conn: sqlite3.Connection, path: Path) -> int:
    """The schema version of the file; raises StoreError when it is a database of something else."""
    (version,) = conn.execute("PRAGMA user_version").fetchone()
    (app,) = conn.execute("PRAGMA application_id").fetchone()
    (tables,) = conn.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if app != APPLICATION_ID and (tables or version):
        raise StoreError(f"{path}: this is an SQLite database of another program: choose another path.")
    return version


def _received_at(data: bytes) -> int:
    return decode_event(data).received_at


def _event_name(data: bytes) -> str:
    return decode_event(data).name


def _app_id(data: bytes) -> str:
    return decode_run(data).app_id


_OF_RECORDS = {"event_received_at": _received_at, "event_name": _event_name, "run_app_id": _app_id}


def _know(conn: sqlite3.Connection) -> None:
    """Functions with which migrations read what older rows have in their records only."""
    for name, read in _OF_RECORDS.items():
        conn.create_function(name, 1, read, deterministic=True)


def _migrate(conn: sqlite3.Connection, path: Path, version: int) -> None:
    _know(conn)
    for migration in pending(load_migrations(__package__ or ""), version, str(path)):
        marks = f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={migration.number};"
        try:
            conn.executescript(f"BEGIN IMMEDIATE;\n{migration.sql}\n{marks}\nCOMMIT;")
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise
