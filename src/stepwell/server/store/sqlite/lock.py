"""One process owns a database file: an operating-system lock on ``<db>.lock``, which dies with its holder."""

import fcntl
import os
from pathlib import Path

import msgspec

from stepwell.server.store.base import StoreError


class Holder(msgspec.Struct, frozen=True):
    """Who holds a database: process id, and a text of its own choice (the URL of its API)."""

    pid: int
    note: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} ({self.note})" if self.note else f"process {self.pid}"


class FileLock:
    """The lock of the database at ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = lock_path(path)
        self._db = path
        self._fd: int | None = None

    def acquire(self, note: str) -> None:
        """Take the lock or raise StoreError at once, naming the holder."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._impossible(error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            who = _read(self._path)
            ask = f" ask it with --url {who.note}," if who is not None and "://" in who.note else ""
            raise StoreError(
                f"{self._db} is in use by {who or 'another process'}: stop it,{ask} or choose another database file."
            ) from None
        except OSError as error:
            os.close(fd)
            raise self._impossible(error) from error
        self._fd = fd
        self.announce(note)

    def _impossible(self, error: OSError) -> StoreError:
        return StoreError(f"{self._db}: its lock file {self._path} cannot be taken ({error.strerror}).")

    def announce(self, note: str) -> None:
        """Write who holds the lock, for those who come later."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, msgspec.json.encode(Holder(os.getpid(), note)), 0)

    def release(self) -> None:
        """Let go. The file stays: removing it would let two processes hold two files of the same name."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None


def lock_path(db: Path) -> Path:
    """Where the lock of a database file is."""
    return db.with_name(db.name + ".lock")


def read_holder(db: Path) -> Holder | None:
    """Who holds the database now; None when nobody does, or it does not say."""
    try:
        fd = os.open(lock_path(db), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(lock_path(db))
    finally:
        os.close(fd)
    return None


def _read(path: Path) -> Holder | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None
