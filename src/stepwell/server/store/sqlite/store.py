"""The store in one SQLite file, with a file for each large body: threads that write and read, and the lock on all of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from stepwell.core.flow.gates import Shut
from stepwell.core.flow.holding import Holding
from stepwell.core.model import Cancellation, Item, ItemRef, Pause, Run, RunView, StoredEvent, Wait
from stepwell.core.outputs import Commit
from stepwell.server.store.base import (
    AppRecord,
    ClaimRequest,
    Counts,
    EventQuery,
    Piece,
    Prune,
    Pruned,
    RunQuery,
    StoreError,
    Transacted,
    WaitQuery,
    WorkerRecord,
)
from stepwell.server.store.plan import everything
from stepwell.server.store.sqlite.bodyfiles import BodyFiles
from stepwell.server.store.sqlite.connect import connect_reader, connect_writer, prepare
from stepwell.server.store.sqlite.lane import Lane
from stepwell.server.store.sqlite.lock import FileLock
from stepwell.server.store.sqlite.reader import Reader
from stepwell.server.store.sqlite.writer import Writer


class SQLiteStore:
    """Durable state in the file at ``path`` (made with mode 0600, its folder too when missing).

    ``note`` tells a second opener who holds the file (the API's URL). ``max_bytes`` caps the file's size, and that of
    each large body's; beyond it, writes fail as on a full disk (None: no cap). A transaction is on the disk when its verb
    returns (WAL, FULL).
    """

    exclusive = True

    def __init__(self, path: str | Path, *, note: str = "", max_bytes: int | None = None) -> None:
        self.path = Path(path).absolute()
        self._note = note
        self._max_bytes = max_bytes
        self._lock = FileLock(self.path)
        self._write: Lane[Writer] | None = None
        self._read: Lane[Reader] | None = None
        self._files = BodyFiles(self.path, max_bytes)

    async def open(self) -> None:
        """See :meth:`Store.open`. Claims of the former process lose their leases: the next ``rescue`` frees them."""
        if self._write is not None:
            raise StoreError(f"{self.path} is open already.")
        write, read = Lane[Writer](self.path, "stepwell-writer"), Lane[Reader](self.path, "stepwell-reader")
        self._files = BodyFiles(self.path, self._max_bytes)
        try:
            await write.start(self._open_writer)
            await read.start(lambda: Reader(connect_reader(self.path)))
        except BaseException:
            await self._shut(write, read)
            raise
        self._write, self._read = write, read

    def _open_writer(self) -> Writer:
        prepare(self.path)
        self._lock.acquire(self._note)
        conn = connect_writer(self.path, self._max_bytes)
        try:
            return Writer(conn, self._files)
        except BaseException:
            conn.close()
            raise

    async def close(self) -> None:
        """See :meth:`Store.close`."""
        write, self._write = self._write, None
        read, self._read = self._read, None
        if write is not None and read is not None:
            await self._shut(write, read)

    async def _shut(self, write: Lane[Writer], read: Lane[Reader]) -> None:
        await read.stop(Reader.close)
        await self._files.close()
        await write.stop(Writer.close)
        self._lock.release()

    def announce(self, note: str) -> None:
        """Tell later openers who holds the file, once that is known (the API's URL)."""
        self._note = note
        self._lock.announce(note)

    @property
    def _writer(self) -> Lane[Writer]:
        return self._write or self._closed()

    @property
    def _reader(self) -> Lane[Reader]:
        return self._read or self._closed()

    def _closed(self) -> NoReturn:
        raise StoreError(f"{self.path} is not open: call open() first.")

    async def transact(self, commits: Sequence[Commit], claim: ClaimRequest | None = None) -> Transacted:
        """See :meth:`Store.transact`."""
        if kept := [claim.body for commit in commits for each in everything(commit) for claim in each.keep]:
            await self._files.sync(kept)
        return await self._writer.do(Writer.transact, commits, claim)

    async def load_runs(self, run_ids: Sequence[str]) -> list[RunView]:
        """See :meth:`Store.load_runs`."""
        return await self._reader.do(Reader.load_runs, run_ids)

    async def heartbeat(self, owner: str, expires_at: int) -> None:
        """See :meth:`Store.heartbeat`."""
        await self._writer.do(Writer.heartbeat, owner, expires_at)

    async def rescue(self, now: int) -> int:
        """See :meth:`Store.rescue`."""
        return await self._writer.do(Writer.rescue, now)

    async def release(self, refs: Sequence[ItemRef]) -> None:
        """See :meth:`Store.release`."""
        await self._writer.do(Writer.release, refs)

    async def beat(self, worker: WorkerRecord, forget: int) -> None:
        """See :meth:`Store.beat`."""
        await self._writer.do(Writer.beat, worker, forget)

    async def workers(self) -> list[WorkerRecord]:
        """See :meth:`Store.workers`."""
        return await self._reader.do(Reader.workers)

    async def drop_worker(self, worker_id: str) -> None:
        """See :meth:`Store.drop_worker`."""
        await self._writer.do(Writer.drop_worker, worker_id)

    async def lead(self, owner: str, now: int, expires_at: int) -> bool:
        """See :meth:`Store.lead`."""
        return await self._writer.do(Writer.lead, owner, now, expires_at)

    async def resign(self, owner: str) -> None:
        """See :meth:`Store.resign`."""
        await self._writer.do(Writer.resign, owner)

    async def prune(self, asked: Prune) -> Pruned:
        """See :meth:`Store.prune`. The file does not become smaller: what comes later takes the room."""
        return await self._writer.do(Writer.prune, asked)

    async def get_event(self, internal_id: str) -> StoredEvent | None:
        """See :meth:`Store.get_event`."""
        return await self._reader.do(Reader.event, internal_id)

    async def list_events(self, query: EventQuery) -> list[StoredEvent]:
        """See :meth:`Store.list_events`."""
        return await self._reader.do(Reader.list_events, query)

    async def list_runs(self, query: RunQuery) -> list[Run]:
        """See :meth:`Store.list_runs`."""
        return await self._reader.do(Reader.list_runs, query)

    async def save_app(self, app: AppRecord) -> None:
        """See :meth:`Store.save_app`."""
        await self._writer.do(Writer.save_app, app)

    async def load_apps(self) -> list[AppRecord]:
        """See :meth:`Store.load_apps`."""
        return await self._reader.do(Reader.load_apps)

    async def load_body(self, ref: str, start: int = 0, end: int | None = None) -> bytes | None:
        """See :meth:`Store.load_body`."""
        found = await self._reader.do(Reader.load_body, ref, start, end)
        if not isinstance(found, int):
            return found
        data = await self._files.read(ref, start, end, found)
        if data is None and await self._reader.do(Reader.load_body, ref, 0, 0) is not None:
            raise StoreError(f"{self._files.path(ref)} is missing: the folder belongs to the database, restore it too.")
        return data

    async def append_body(self, claim: ItemRef, start: int, data: Piece, *, last: bool = False) -> bool:
        """See :meth:`Store.append_body`."""
        if start == 0 and not await self._writer.do(Writer.begin_body, claim):
            return False
        held = await self._files.append(claim.body, start, data)
        if held and last:
            await self._files.sync([claim.body])
        return held

    async def list_items(self, run_id: str) -> list[Item]:
        """See :meth:`Store.list_items`."""
        return await self._reader.do(Reader.list_items, run_id)

    async def waits(self, run_id: str, now: int) -> dict[str, Shut]:
        """See :meth:`Store.waits`."""
        return await self._writer.do(Writer.waits, run_id, now)

    async def held(self, now: int, limit: int) -> list[Holding]:
        """See :meth:`Store.held`. What takes long, the counting, keeps nobody from writing."""
        groups = await self._reader.do(Reader.parked, max(1, limit))
        return await self._writer.do(Writer.held, groups, now, limit)

    async def find_waits(self, query: WaitQuery) -> list[Wait]:
        """See :meth:`Store.find_waits`."""
        return await self._reader.do(Reader.find_waits, query)

    async def waited_places(self, name: str) -> list[Wait]:
        """See :meth:`Store.waited_places`."""
        return await self._reader.do(Reader.waited_places, name)

    async def find_signal(self, signal: str) -> Wait | None:
        """See :meth:`Store.find_signal`."""
        return await self._reader.do(Reader.find_signal, signal)

    async def cancellations(self) -> list[Cancellation]:
        """See :meth:`Store.cancellations`."""
        return await self._reader.do(Reader.cancellations)

    async def drop_cancellation(self, cancellation_id: str) -> bool:
        """See :meth:`Store.drop_cancellation`."""
        return await self._writer.do(Writer.drop_cancellation, cancellation_id)

    async def keys_of(self, function_id: str) -> list[str]:
        """See :meth:`Store.keys_of`."""
        return await self._reader.do(Reader.keys_of, function_id)

    async def pauses(self) -> list[Pause]:
        """See :meth:`Store.pauses`."""
        return await self._reader.do(Reader.pauses)

    async def save_pause(self, pause: Pause) -> None:
        """See :meth:`Store.save_pause`."""
        await self._writer.do(Writer.save_pause, pause)

    async def drop_pause(self, function_id: str) -> bool:
        """See :meth:`Store.drop_pause`."""
        return await self._writer.do(Writer.drop_pause, function_id)

    async def waiting_names(self) -> set[str]:
        """See :meth:`Store.waiting_names`."""
        return await self._reader.do(Reader.waiting_names)

    async def counts(self) -> Counts:
        """See :meth:`Store.counts`."""
        return await self._reader.do(Reader.counts)
