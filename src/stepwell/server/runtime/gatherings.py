"""Begins the runs that have waited for more events: debounced and batched ones."""

import asyncio
from collections.abc import Callable

from stepwell.core.flow.admission import Gathered, gathered_of, waiting_steps_of
from stepwell.core.inputs import Broken, Env, Fired, Ready
from stepwell.core.model import Item, RunView, StoredEvent, WorkKind
from stepwell.server.runtime.loops import until_done
from stepwell.server.runtime.starter import Starter
from stepwell.server.store.base import Store


class Gatherings:
    """Reads the events of a START and has the starter say how its run begins."""

    def __init__(self, store: Store, starter: Starter, env: Callable[[], Env]) -> None:
        self._store = store
        self._starter = starter
        self._env = env

    async def ready(self, view: RunView, item: Item) -> Ready | Broken | None:
        """The input with which the run begins, or ends when its app has no such function any more; None while its app is
        not known."""
        gathered = gathered_of(item)
        events = await self._events(gathered)
        if not events:
            raise LookupError("the events of the run are gone")
        run = view.run
        if self._starter.archived(run):
            message = f"the app {run.app_id!r} has no function {run.function_id!r} any more: it was removed, or renamed"
            return Broken(item, message, name="FunctionNotFound")
        return self._starter.begin(self._env(), run, gathered, events, item)

    async def cancelled(self, item: Item) -> Fired:
        """The input that ends a run which has not begun, with the steps that wait for it."""
        return Fired(item, await until_done(lambda: self.waiting_steps(item.run_id)))

    async def waiting_steps(self, run_id: str) -> tuple[str, ...]:
        """The steps that wait for a run that has not begun. Raises StoreError."""
        items = await self._store.list_items(run_id)
        return tuple(step for item in items if item.kind is WorkKind.START for step in waiting_steps_of(item))

    async def _events(self, gathered: Gathered) -> list[StoredEvent]:
        found = await until_done(lambda: asyncio.gather(*map(self._store.get_event, gathered.events)))
        return [event for event in found if event is not None]
