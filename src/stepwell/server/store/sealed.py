"""A store that keeps what belongs to the user sealed: requests, step results, errors, events, outputs, bodies.

Ids, names, statuses, times and limits stay readable, for they are what the store looks for. Values that were stored
before there was a key are read as they are.
"""

import asyncio
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from stepwell.core.flow.gates import Shut
from stepwell.core.flow.holding import Holding
from stepwell.core.model import Cancellation, Item, ItemRef, Pause, Run, RunView, StoredEvent, Wait
from stepwell.core.outputs import Commit
from stepwell.server.crypto.keys import KeyFile, KeyProblem
from stepwell.server.crypto.seal import Sealer
from stepwell.server.store.base import (
    AppRecord,
    ClaimRequest,
    Counts,
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
from stepwell.server.store.sealed_bodies import SealedBodies
from stepwell.server.store.sealed_commits import seal_commits
from stepwell.server.store.sealed_keys import KEY_MARK, check_keys, is_mark, load_keys, mark
from stepwell.server.store.sealed_records import open_event, open_item, open_run, open_view, opening
from stepwell.server.store.sealed_waits import open_cancellation, open_wait, places


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
        self._bodies = SealedBodies(inner, lambda: self._keys)

    async def open(self) -> None:
        """See :meth:`Store.open`. Raises StoreError too when a key that is in use is not there."""
        await self.inner.open()
        try:
            marks = {app.app_id: app for app in await self.inner.load_apps() if is_mark(app)}
            sealer = await asyncio.to_thread(load_keys, self._configured, self._file, bool(marks))
            check_keys(sealer, marks)
            if self._seals and KEY_MARK + sealer.key not in marks:
                await self.inner.save_app(mark(sealer))
        except KeyProblem as problem:
            await self.inner.close()
            raise StoreError(str(problem)) from None
        except BaseException:
            await self.inner.close()
            raise
        self._sealer = sealer

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
        done = await self.inner.transact(await seal_commits(keys, commits), claim)
        if any(item.payload is not None for item in done.claimed):
            done.claimed = [open_item(keys, item, lenient=True) for item in done.claimed]
        return done

    async def load_runs(self, run_ids: Sequence[str]) -> list[RunView]:
        """See :meth:`Store.load_runs`."""
        keys = self._keys
        found = await self.inner.load_runs(run_ids)
        return opening(lambda: [open_view(keys, view) for view in found])

    async def get_event(self, internal_id: str) -> StoredEvent | None:
        """See :meth:`Store.get_event`."""
        found = await self.inner.get_event(internal_id)
        return found and opening(lambda: open_event(self._keys, found))

    async def list_events(self, query: EventQuery) -> list[StoredEvent]:
        """See :meth:`Store.list_events`."""
        found = await self.inner.list_events(query)
        return opening(lambda: [open_event(self._keys, event) for event in found])

    async def list_runs(self, query: RunQuery) -> list[Run]:
        """See :meth:`Store.list_runs`."""
        found = await self.inner.list_runs(query)
        return opening(lambda: [open_run(self._keys, run) for run in found])

    async def list_items(self, run_id: str) -> list[Item]:
        """See :meth:`Store.list_items`."""
        found = await self.inner.list_items(run_id)
        return opening(lambda: [open_item(self._keys, item) for item in found])

    async def load_body(self, ref: str, start: int = 0, end: int | None = None) -> bytes | None:
        """See :meth:`Store.load_body`."""
        return await self._bodies.load(ref, start, end)

    async def append_body(self, claim: ItemRef, start: int, data: Piece, *, last: bool = False) -> bool:
        """See :meth:`Store.append_body`."""
        return await self._bodies.append(claim, start, data, last=last)

    async def load_apps(self) -> list[AppRecord]:
        """See :meth:`Store.load_apps`."""
        return [app for app in await self.inner.load_apps() if not is_mark(app)]

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
        return opening(lambda: [open_wait(keys, wait) for wait in found])

    async def waited_places(self, name: str) -> list[Wait]:
        """See :meth:`Store.waited_places`. One that was written under several keys comes several times."""
        found = await self.inner.waited_places(name)
        return opening(lambda: [open_wait(self._keys, wait) for wait in found])

    async def find_signal(self, signal: str) -> Wait | None:
        """See :meth:`Store.find_signal`."""
        found = await self.inner.find_signal(signal)
        return found and opening(lambda: open_wait(self._keys, found))

    async def cancellations(self) -> list[Cancellation]:
        """See :meth:`Store.cancellations`."""
        found = await self.inner.cancellations()
        return opening(lambda: [open_cancellation(self._keys, one) for one in found])

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
