"""Ends many runs at once: stored first, then gone through in pages, each a work item; and looked at before each call."""

from stepwell.core.cancellations import (
    PAGE,
    begin,
    cancellation_of,
    covers,
    page,
    place,
    reason,
)
from stepwell.core.model import Cancellation, Item, ItemRef, Run, RunView
from stepwell.core.outputs import Commit
from stepwell.server.clock import Clock
from stepwell.server.runtime.committer import Committer
from stepwell.server.runtime.loops import until_done
from stepwell.server.store.base import RunQuery, Store


class Cancelling:
    """The cancellations of many runs. ``committer`` is set before anything is asked of it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._fresh: dict[str, list[Cancellation]] = {}
        """Those that may mean runs which have not been ended yet, by function."""
        self.committer: Committer

    async def load(self) -> None:
        """Take up what another process began. Raises StoreError."""
        found = [one for one in await self._store.cancellations() if await self._store.list_items(place(one))]
        self._fresh = {}
        for cancellation in found:
            self._remember(cancellation)

    async def add(self, cancellation: Cancellation) -> None:
        """Store it, and begin. Raises StoreError."""
        await self.committer.write([begin(cancellation)])
        self._remember(cancellation)

    async def all(self) -> list[Cancellation]:
        """Every one, the newest first. Raises StoreError."""
        return await self._store.cancellations()

    async def drop(self, cancellation_id: str) -> bool:
        """Forget it: runs that it has not ended go on. False when it is unknown. Raises StoreError."""
        self._forget(cancellation_id)
        return await self._store.drop_cancellation(cancellation_id)

    def reason(self, view: RunView) -> str | None:
        """Why a run must not be called any more; None when it may be."""
        for cancellation in self._fresh.get(view.run.function_id, ()):
            if covers(cancellation, view.run, view.events[0] if view.events else None):
                return reason(cancellation.cancellation_id)
        return None

    async def work(self, item: Item) -> None:
        """One page."""
        commit = await until_done(lambda: self._written(item))
        if not commit.put:
            self._forget(cancellation_of(item.run_id) or "")

    async def _written(self, item: Item) -> Commit:
        commit = await self._page(item)
        await self.committer.write([commit])
        return commit

    async def _page(self, item: Item) -> Commit:
        found = [
            one for one in await self._store.cancellations() if one.cancellation_id == cancellation_of(item.run_id)
        ]
        now = self._clock.now()
        if not found:
            return Commit(now=now, done=(ItemRef(item.run_id, item.key, item.claim),))
        cancellation = found[0]
        before = None if item.payload is None else item.payload.decode()
        query = RunQuery(function_id=cancellation.function_id, active=True, before=before, limit=PAGE)
        runs = await self._store.list_runs(query)
        met = [run for run in runs if covers(cancellation, run, await self._event(cancellation, run))]
        last = runs[-1].run_id if len(runs) == PAGE else None
        return page(cancellation, item, met, last, now)

    async def _event(self, cancellation: Cancellation, run: Run) -> bytes | None:
        if cancellation.condition is None or not run.event_ids:
            return None
        event = await self._store.get_event(run.event_ids[0])
        return event.body if event is not None else None

    def _remember(self, cancellation: Cancellation) -> None:
        self._fresh.setdefault(cancellation.function_id, []).append(cancellation)

    def _forget(self, cancellation_id: str) -> None:
        for function_id, known in list(self._fresh.items()):
            kept = [one for one in known if one.cancellation_id != cancellation_id]
            if kept:
                self._fresh[function_id] = kept
            else:
                del self._fresh[function_id]
