"""What SQLite's errors mean to the person who has to do something about them."""

import errno
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from stepwell.server.store.base import StoreError

_FULL = "the disk is full, nothing was saved: free some space (or raise the size limit of the file)."
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MEANING = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: "the disk failed to read or write (full, or broken): check it, nothing was saved.",
    sqlite3.SQLITE_BUSY: "another program has locked the file: close it (a database browser?) and try again.",
    sqlite3.SQLITE_LOCKED: "another program has locked the file: close it (a database browser?) and try again.",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore it from a backup, or move it away to start anew.",
    sqlite3.SQLITE_NOTADB: "the file is not a Stepwell database: choose another path, or move the file away.",
    sqlite3.SQLITE_READONLY: "the file cannot be written: check the permissions of the file and of its folder.",
    sqlite3.SQLITE_PERM: "the file cannot be written: check the permissions of the file and of its folder.",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened: check the path and the permissions of its folder.",
}


@contextmanager
def explained(path: Path) -> Generator[None]:
    """Turn an error of SQLite, or of the system, into a StoreError of one sentence that names the file."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        meaning = _MEANING.get(code & 0xFF) if isinstance(code, int) else None
        raise StoreError(f"{path}: {meaning or f'SQLite says: {error}.'}") from error
    except OSError as error:
        meaning = (
            _FULL if error.errno in _NO_SPACE else f"the disk failed to read or write ({error.strerror}): check it."
        )
        raise StoreError(f"{path}: {meaning}") from error
