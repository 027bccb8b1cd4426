"""A store that keeps what belongs to the user sealed: requests, step results, errors, events, outputs, bodies.

Ids, names, statuses, times and limits stay readable, for they are what the store looks for. Values that were stored
before there was a key are read as they are.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from stepwell.core.flow.gates import Shut
from stepwell.core.flow.holding import Holding
from stepwell.core.model import Body, Cancellation, Item, ItemRef, Pause, Run, RunView, StoredEvent, Wait
from stepwell.core.outputs import Admission, Commit, RateLimited, Single
from stepwell.server.crypto import pieces
from stepwell.server.crypto.keys import KeyFile, KeyProblem, parse_keys
from stepwell.server.crypto.seal import CannotOpen, Sealer
from stepwell.server.store.base import (
    PIECE_BYTES,
    AppRecord,
    ClaimRequest,
    Counts,
    Data,
    EventQuery,
    Piece,
    Prune,
    Pruned,
    RunQuery,
    Store,
    StoreError,
    Transacted,
    WaitQuery,
    Watched,
    WorkerRecord,
)
from stepwell.server.store.carrying import Carrier, SealedCarrier, carrier_of
from stepwell.server.store.codec import build_view
from stepwell.server.store.sealed_records import (
    open_event,
    open_event_body,
    open_item,
    open_run,
    open_step,
    piece_place,
    seal_event,
    seal_item,
    seal_run,
    seal_step,
)
from stepwell.server.store.sealed_waits import open_cancellation, open_wait, places, seal_cancellation, seal_wait

_T = TypeVar("_T")

KEY_MARK = "stepwell:key:"
"""Ids of the records among the apps that name the keys in use; each holds a value to try the key on."""
_TRIAL = b"stepwell"
_SLOW = 1024 * 1024
"""Bodies from this size on are sealed and opened in a thread."""
_BUFFERS = 2
_ROWS = 1_000


class Layouts:
    """How long the pieces of bodies are, for those that were read lately: it never changes."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def get(self, ref: str) -> int | None:
        """The length; None when it has to be looked up."""
        return self._known.get(ref)

    def put(self, ref: str, length: int) -> None:
        """Remember one, and forget the oldest."""
        if len(self._known) >= _ROWS:
            del self._known[next(iter(self._known))]
        self._known[ref] = length


class SealedStore:
    """Wraps a store, with the same verbs. ``configured``: the keys given, the newest first (hex or base64).

    ``file`` holds the generated key: read as well when there are given ones, made where there is none and none was given.
    ``seals``: false for who stores nothing, whose newest key is not noted as one that is in use.
    """

    def __init__(
        self, inner: Store, configured: Sequence[str] = (), file: KeyFile | None = None, *, seals: bool = True
    ) -> None:
        self.inner = inner
        self.exclusive = inner.exclusive
        self._configured = configured
        self._file = file
        self._seals = seals
        self._sealer: Sealer | None = None
        self._rows = Layouts()
        self._buffers: list[bytearray] = []

    async def open(self) -> None:
        """See :meth:`Store.open`. Raises StoreError too when a key that is in use is not there."""
        await self.inner.open()
        try:
            marks = {app.app_id: app for app in await self.inner.load_apps() if app.app_id.startswith(KEY_MARK)}
            sealer = await asyncio.to_thread(self._load, bool(marks))
            _check(sealer, marks)
            if self._seals and KEY_MARK + sealer.key not in marks:
                await self.inner.save_app(_mark(sealer))
        except KeyProblem as problem:
            await self.inner.close()
            raise StoreError(str(problem)) from None
        except BaseException:
            await self.inner.close()
            raise
        self._sealer = sealer

    def _load(self, used: bool) -> Sealer:
        keys = parse_keys(self._configured) + (self._file.load() if self._file else [])
        if not keys and used:
            where = f": restore {self._file.path}, or set" if self._file else ": set"
            raise KeyProblem(f"The database is encrypted, and its key is missing{where} STEPWELL_ENCRYPTION_KEY.")
        if not keys and self._file is not None:
            keys = self._file.make()
        if not keys:
            raise KeyProblem(
                "There is no encryption key; set STEPWELL_ENCRYPTION_KEY, `openssl rand -hex 32` makes one."
            )
        return Sealer(keys)

    async def close(self) -> None:
        """See :meth:`Store.close`."""
        await self.inner.close()

    @property
    def carrier(self) -> Carrier | None:
        """What carries messages to other processes, sealed; None for a store that has no such thing. The store is open."""
        inner = carrier_of(self.inner)
        return None if inner is None else SealedCarrier(inner, self._keys)

    @property
    def sealer(self) -> Sealer:
        """The keys; the store is open."""
        return self._keys

    @property
    def _keys(self) -> Sealer:
        if self._sealer is None:
            raise StoreError("The store is not open: call open() first.")
        return self._sealer

    async def transact(self, commits: Sequence[Commit], claim: ClaimRequest | None = None) -> Transacted:
        """See :meth:`Store.transact`."""
        keys = self._keys
        sealed = [_seal_commit(keys, commit) for commit in commits]
        if any(map(_has_bodies, commits)):
            sealed = [await _seal_bodies(keys, commit) for commit in sealed]
        done = await self.inner.transact(sealed, claim)
        if any(item.payload is not None for item in done.claimed):
            done.claimed = [open_item(keys, item, lenient=True) for item in done.claimed]
        return done

    async def load_runs(self, run_ids: Sequence[str]) -> list[RunView]:
        """See :meth:`Store.load_runs`."""
        keys = self._keys
        found = await self.inner.load_runs(run_ids)
        return _opening(lambda: [_open_view(keys, view) for view in found])

    async def get_event(self, internal_id: str) -> StoredEvent | None:
        """See :meth:`Store.get_event`."""
        found = await self.inner.get_event(internal_id)
        return found and _opening(lambda: open_event(self._keys, found))

    async def list_events(self, query: EventQuery) -> list[StoredEvent]:
        """See :meth:`Store.list_events`."""
        found = await self.inner.list_events(query)
        return _opening(lambda: [open_event(self._keys, event) for event in found])

    async def list_runs(self, query: RunQuery) -> list[Run]:
        """See :meth:`Store.list_runs`."""
        found = await self.inner.list_runs(query)
        return _opening(lambda: [open_run(self._keys, run) for run in found])

    async def list_items(self, run_id: str) -> list[Item]:
        """See :meth:`Store.list_items`."""
        found = await self.inner.list_items(run_id)
        return _opening(lambda: [open_item(self._keys, item) for item in found])

    async def load_body(self, ref: str, start: int = 0, end: int | None = None) -> bytes | None:
        """See :meth:`Store.load_body`."""
        length = self._rows.get(ref)
        if length is not None:
            return await self._load_row(ref, length, start, end)
        head = await self.inner.load_body(ref, 0, pieces.HEAD)
        if head and head.startswith(pieces.IN_A_ROW):
            self._rows.put(ref, pieces.length_of(head))
            return await self._load_row(ref, pieces.length_of(head), start, end)
        wanted = head and pieces.part(head, start, end)
        if not wanted:
            return await self.inner.load_body(ref, start, end)
        return await self._load_part(ref, wanted, 0, ref.encode())

    async def append_body(self, claim: ItemRef, start: int, data: Piece, *, last: bool = False) -> bool:
        """See :meth:`Store.append_body`."""
        buffer = self._buffers.pop() if self._buffers else bytearray(pieces.sealed_size(PIECE_BYTES))
        keys, place = self._keys, piece_place(claim.body, start)

        def sealed() -> Data:
            plain = data() if callable(data) else data
            return memoryview(buffer)[: pieces.seal_into(buffer, keys, plain, place, pieces.IN_A_ROW)]

        where = start // PIECE_BYTES * pieces.sealed_size(PIECE_BYTES)
        held = await self.inner.append_body(claim, where, sealed, last=last)
        if len(self._buffers) < _BUFFERS:  # not where this was given up: a thread may still read it
            self._buffers.append(buffer)
        return held

    async def _load_row(self, ref: str, length: int, start: int, end: int | None) -> bytes | None:
        """Part of a body that was stored in pieces of ``length`` bytes."""
        if end is not None and end <= start:
            return b""
        first, size = start // length, pieces.sealed_size(length)
        if end is not None and (end - 1) // length == first:
            head = await self.inner.load_body(ref, first * size, first * size + pieces.HEAD)
            wanted = head and pieces.part(head, start - first * length, end - first * length)
            place = piece_place(ref, first * length)
            return (await self._load_part(ref, wanted, first * size, place)) if wanted else head
        stop = None if end is None else -(-end // length) * size
        sealed = await self.inner.load_body(ref, first * size, stop)
        if not sealed:
            return sealed
        opened = partial(pieces.open_row, self._keys, sealed, length, start, end, partial(piece_place, ref))
        return await asyncio.to_thread(_opening, opened)

    async def _load_part(self, ref: str, part: pieces.Part, base: int, place: bytes) -> bytes | None:
        """``part`` of the sealed value that is stored from ``base`` on."""
        sealed = await self.inner.load_body(ref, base + part.start, base + part.end)
        if sealed is None:
            return None
        keys = self._keys
        if len(sealed) < _SLOW:
            return _opening(lambda: part.open(keys, sealed, place))
        return await asyncio.to_thread(_opening, lambda: part.open(keys, sealed, place))

    async def load_apps(self) -> list[AppRecord]:
        """See :meth:`Store.load_apps`."""
        return [app for app in await self.inner.load_apps() if not app.app_id.startswith(KEY_MARK)]

    async def save_app(self, app: AppRecord) -> None:
        """See :meth:`Store.save_app`."""
        await self.inner.save_app(app)

    def watch(self, told: Callable[[str], None]) -> None:
        """See :meth:`Watched.watch`."""
        if isinstance(self.inner, Watched):
            self.inner.watch(told)

    async def heartbeat(self, owner: str, expires_at: int) -> None:
        """See :meth:`Store.heartbeat`."""
        await self.inner.heartbeat(owner, expires_at)

    async def beat(self, worker: WorkerRecord, forget: int) -> None:
        """See :meth:`Store.beat`. Nothing of it belongs to users."""
        await self.inner.beat(worker, forget)

    async def workers(self) -> list[WorkerRecord]:
        """See :meth:`Store.workers`."""
        return await self.inner.workers()

    async def drop_worker(self, worker_id: str) -> None:
        """See :meth:`Store.drop_worker`."""
        await self.inner.drop_worker(worker_id)

    async def lead(self, owner: str, now: int, expires_at: int) -> bool:
        """See :meth:`Store.lead`."""
        return await self.inner.lead(owner, now, expires_at)

    async def resign(self, owner: str) -> None:
        """See :meth:`Store.resign`."""
        await self.inner.resign(owner)

    async def prune(self, asked: Prune) -> Pruned:
        """See :meth:`Store.prune`."""
        return await self.inner.prune(asked)

    async def waits(self, run_id: str, now: int) -> dict[str, Shut]:
        """See :meth:`Store.waits`."""
        return await self.inner.waits(run_id, now)

    async def held(self, now: int, limit: int) -> list[Holding]:
        """See :meth:`Store.held`."""
        return await self.inner.held(now, limit)

    async def rescue(self, now: int) -> int:
        """See :meth:`Store.rescue`."""
        return await self.inner.rescue(now)

    async def release(self, refs: Sequence[ItemRef]) -> None:
        """See :meth:`Store.release`."""
        await self.inner.release(refs)

    async def find_waits(self, query: WaitQuery) -> list[Wait]:
        """See :meth:`Store.find_waits`."""
        keys = self._keys
        found = await self.inner.find_waits(
            replace(query, at=tuple(p for pair in query.at for p in places(keys, *pair)))
        )
        return _opening(lambda: [open_wait(keys, wait) for wait in found])

    async def waited_places(self, name: str) -> list[Wait]:
        """See :meth:`Store.waited_places`. One that was written under several keys comes several times."""
        found = await self.inner.waited_places(name)
        return _opening(lambda: [open_wait(self._keys, wait) for wait in found])

    async def find_signal(self, signal: str) -> Wait | None:
        """See :meth:`Store.find_signal`."""
        found = await self.inner.find_signal(signal)
        return found and _opening(lambda: open_wait(self._keys, found))

    async def cancellations(self) -> list[Cancellation]:
        """See :meth:`Store.cancellations`."""
        found = await self.inner.cancellations()
        return _opening(lambda: [open_cancellation(self._keys, one) for one in found])

    async def drop_cancellation(self, cancellation_id: str) -> bool:
        """See :meth:`Store.drop_cancellation`."""
        return await self.inner.drop_cancellation(cancellation_id)

    async def keys_of(self, function_id: str) -> list[str]:
        """See :meth:`Store.keys_of`."""
        return await self.inner.keys_of(function_id)

    async def pauses(self) -> list[Pause]:
        """See :meth:`Store.pauses`."""
        return await self.inner.pauses()

    async def save_pause(self, pause: Pause) -> None:
        """See :meth:`Store.save_pause`."""
        await self.inner.save_pause(pause)

    async def drop_pause(self, function_id: str) -> bool:
        """See :meth:`Store.drop_pause`."""
        return await self.inner.drop_pause(function_id)

    async def waiting_names(self) -> set[str]:
        """See :meth:`Store.waiting_names`."""
        return await self.inner.waiting_names()

    async def counts(self) -> Counts:
        """See :meth:`Store.counts`."""
        return await self.inner.counts()


# the keys in use


def _mark(sealer: Sealer) -> AppRecord:
    trial = sealer.seal(_TRIAL, KEY_MARK.encode())
    return AppRecord(app_id=KEY_MARK + sealer.key, url="", sdk="", checksum="", functions=trial, synced_at=0)


def _check(sealer: Sealer, marks: dict[str, AppRecord]) -> None:
    missing = sorted(name.removeprefix(KEY_MARK) for name in marks if name.removeprefix(KEY_MARK) not in sealer.known)
    if missing:
        raise KeyProblem(
            f"The database is encrypted with the key {', '.join(missing)}, and the keys given are "
            f"{', '.join(sorted(sealer.known))}: add the missing one to STEPWELL_ENCRYPTION_KEYS, after the newest."
        )
    for mark in marks.values():
        _opening(lambda mark=mark: sealer.open(mark.functions, KEY_MARK.encode()))


def _opening(work: Callable[[], _T]) -> _T:
    try:
        return work()
    except (CannotOpen, msgspec.DecodeError) as problem:
        raise StoreError(f"The database can not be read: {problem}.") from None


# commits


def _seal_commit(keys: Sealer, commit: Commit) -> Commit:
    changes: dict[str, object] = {}
    if commit.run is not None and (commit.run.output is not None or commit.run.error is not None):
        changes["run"] = seal_run(keys, commit.run)
    if commit.events:
        changes["events"] = tuple(seal_event(keys, event) for event in commit.events)
    if commit.steps:
        changes["steps"] = tuple(seal_step(keys, step) for step in commit.steps)
    if any(item.payload is not None for item in commit.put):
        changes["put"] = tuple(seal_item(keys, item) for item in commit.put)
    if commit.waits:
        changes["waits"] = tuple(seal_wait(keys, wait) for wait in commit.waits)
    if commit.admit:
        changes["admit"] = tuple(_seal_admission(keys, admission) for admission in commit.admit)
    if commit.cancellations:
        changes["cancellations"] = tuple(seal_cancellation(keys, one) for one in commit.cancellations)
    if commit.more:
        changes["more"] = tuple(_seal_commit(keys, following) for following in commit.more)
    if commit.otherwise is not None:
        changes["otherwise"] = _seal_commit(keys, commit.otherwise)
    return replace(commit, **changes) if changes else commit


def _seal_admission(keys: Sealer, admission: Admission) -> Admission:
    if isinstance(admission, RateLimited | Single):
        return replace(admission, instead=admission.instead and _seal_commit(keys, admission.instead))
    return admission  # ids and times


async def _seal_bodies(keys: Sealer, commit: Commit) -> Commit:
    if not _has_bodies(commit):
        return commit
    bodies = [await _seal_body(keys, body) for body in commit.bodies]
    more = [await _seal_bodies(keys, following) for following in commit.more]
    return replace(commit, bodies=tuple(bodies), more=tuple(more))


def _has_bodies(commit: Commit) -> bool:
    return bool(commit.bodies) or any(map(_has_bodies, commit.more))


async def _seal_body(keys: Sealer, body: Body) -> Body:
    place = body.ref.encode()
    if len(body.data) < _SLOW:
        return replace(body, data=pieces.seal(keys, body.data, place))
    return replace(body, data=await asyncio.to_thread(pieces.seal, keys, body.data, place))


def _open_view(keys: Sealer, view: RunView) -> RunView:
    events = [open_event_body(keys, event) for event in view.events]
    return build_view(open_run(keys, view.run), events, [open_step(keys, step) for step in view.steps.values()])
