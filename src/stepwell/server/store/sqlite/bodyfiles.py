"""Large bodies, each in a file of its own beside the database: written while it arrives, on the disk before it is kept.

The database knows of every file before it is made and until it is gone, so nothing is left of what a dead process was writing.
What is kept never changes.
"""

import asyncio
import errno
import hashlib
import logging
import os
from collections.abc import Callable, Collection, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stepwell.server.store.base import Data, Piece, StoreError
from stepwell.server.store.sqlite.failures import explained

logger = logging.getLogger("stepwell.store")

_T = TypeVar("_T")
_READERS = 2
_EARLY_BYTES = 2 * 1024 * 1024
"""The disk is told to begin with as much, so that little is left to wait for in the end."""


@dataclass(slots=True)
class _Arriving:
    """``size``: bytes stored; ``synced``: of those on the disk; ``told``: of those that the disk has begun with."""

    size: int = 0
    synced: int = -1
    told: int = 0
    broken: bool = False


class BodyFiles:
    """The folder ``NAME-bodies`` beside the database ``NAME``. ``max_bytes`` caps each file, as a full disk would.

    ``begin``, ``recall``, ``settle`` and ``forget`` belong to the thread that writes the database; they only take note.
    """

    def __init__(self, db: Path, max_bytes: int | None = None) -> None:
        self.folder = folder_of(db)
        self._max_bytes = max_bytes
        self._arriving: dict[str, _Arriving] = {}
        self._gone: set[str] = set()
        self._ready = False
        self._writing = ThreadPoolExecutor(1, "stepwell-bodies")
        self._tidying = ThreadPoolExecutor(1, "stepwell-tidy")
        self._reading = ThreadPoolExecutor(_READERS, "stepwell-body-reader")

    def begin(self, ref: str) -> None:
        """The database knows now that this body arrives."""
        self._arriving.setdefault(ref, _Arriving())

    def recall(self, ref: str) -> None:
        """A body whose claim was there at the opening: as much of it as its file holds."""
        with suppress(OSError):
            self._arriving[ref] = _Arriving(self.path(ref).stat().st_size)

    def size(self, ref: str) -> int | None:
        """How much of an arriving body is stored; None where nothing is."""
        body = self._arriving.get(ref)
        return None if body is None else body.size

    def settle(self, ended: Iterable[str], lost: Collection[str]) -> None:
        """The bodies that have ``ended`` arrive no longer; those that are ``lost`` are deleted, and then ``gone``."""
        for ref in ended:
            self._arriving.pop(ref, None)
        if lost:
            with suppress(RuntimeError):  # closed: they are deleted at the next start
                self._writing.submit(self._tidying.submit, self._delete, tuple(lost))  # behind what is being written

    def gone(self, ref: str) -> bool:
        """Whether the file of a body that was given up is deleted for good."""
        return ref in self._gone

    def forget(self, refs: Iterable[str]) -> None:
        """The database does not know these any longer."""
        self._gone.difference_update(refs)

    async def append(self, ref: str, start: int, data: Piece) -> bool:
        """Write a piece; False when the body does not arrive any longer. Raises StoreError."""
        return await self._do(self._writing, lambda: self._append(ref, start, data))

    async def sync(self, refs: Iterable[str]) -> None:
        """Return once these are on the disk, as far as they have arrived. Raises StoreError."""
        for ref in refs:
            body = self._arriving.get(ref)
            if body is not None and body.synced < body.size:
                await self._do(self._tidying, lambda ref=ref, body=body: self._sync(ref, body))

    async def read(self, ref: str, start: int, end: int | None, size: int) -> bytes | None:
        """Bytes ``start:end`` of a body of ``size`` bytes; None when it has no file. Raises StoreError."""
        start, end, _ = slice(start, end).indices(size)
        return await self._do(self._reading, lambda: self._read(ref, start, max(start, end), size))

    async def close(self) -> None:
        """Let end what is under way."""
        for pool in (self._writing, self._tidying, self._reading):
            await asyncio.to_thread(pool.shutdown)

    async def _do(self, pool: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        def explain() -> _T:
            with explained(self.folder):
                return work()

        return await asyncio.get_running_loop().run_in_executor(pool, explain)

    def _append(self, ref: str, start: int, piece: Piece) -> bool:
        body = self._arriving.get(ref)
        if body is None:
            return False
        data = piece() if callable(piece) else piece
        if self._max_bytes is not None and start + len(data) > self._max_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if start == 0:
            self._make_folder()
            body.size = body.told = 0
            body.broken = False
        body.synced = -1
        with _opened(self.path(ref), os.O_WRONLY | (os.O_CREAT | os.O_TRUNC if start == 0 else 0)) as fd:
            write_all(fd, data, start)
            body.size = max(body.size, start + len(data))
            if body.size - body.told >= _EARLY_BYTES:
                _begin_sync(fd, body.told, body.size)
                body.told = body.size
        return True

    def _make_folder(self) -> None:
        if not self._ready:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self.folder.parent)
            self._ready = True

    def _sync(self, ref: str, body: _Arriving) -> None:
        if body.broken:  # asked again, the disk would say that all is well (Linux)
            raise StoreError(f"{self.path(ref)}: the disk failed to write it.")
        size = body.size
        try:
            with _opened(self.path(ref), os.O_RDONLY) as fd:
                os.fsync(fd)
            sync_folder(self.folder)
        except OSError:
            if self._arriving.get(ref) is not body:
                return  # given up meanwhile: nobody can keep it
            body.broken = True
            raise
        body.synced = size

    def _read(self, ref: str, start: int, end: int, size: int) -> bytes | None:
        try:
            with _opened(self.path(ref), os.O_RDONLY) as fd:
                found = os.pread(fd, end - start, start)
                while len(found) < end - start and (more := os.pread(fd, end - start - len(found), start + len(found))):
                    found += more
        except FileNotFoundError:
            return None
        if len(found) < end - start:
            raise StoreError(f"{self.path(ref)}: a body of {size} bytes is cut short: restore the file from a backup.")
        return found

    def _delete(self, refs: Collection[str]) -> None:
        try:
            for ref in refs:
                with suppress(FileNotFoundError):
                    self.path(ref).unlink()
            with suppress(FileNotFoundError):
                sync_folder(self.folder)
        except OSError as problem:
            logger.warning("%s: a body that nobody needs is deleted at the next start: %s", self.folder, problem)
        else:
            self._gone.update(refs)

    def path(self, ref: str) -> Path:
        """Where a body is."""
        return self.folder / hashlib.sha256(ref.encode()).hexdigest()[:32]


def folder_of(db: Path) -> Path:
    """Where the bodies of a database file are."""
    return db.with_name(db.name + "-bodies")


@contextmanager
def _opened(path: Path, flags: int) -> Generator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def write_all(fd: int, data: Data, start: int) -> None:
    """All of the data, from byte ``start`` on."""
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, start)
        view, start = view[done:], start + done


def sync_folder(folder: Path) -> None:
    """What is in the folder, and what is not, is on the disk."""
    with _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.fsync(fd)


def _begin_sync(fd: int, start: int, end: int) -> None:
    """Have the system begin to write a range, without waiting. Linux does so when it is told that nobody needs it in memory."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, start, end - start, os.POSIX_FADV_DONTNEED)
