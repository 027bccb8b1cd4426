"""Begins the runs that have waited for more events: debounced and batched ones."""

import asyncio
import logging
from collections.abc import Callable

from stepwell.core.flow.admission import Gathered, gathered_of
from stepwell.core.inputs import Env, Ready
from stepwell.core.model import Item, RunView, StoredEvent, WorkKind
from stepwell.server.runtime.starter import Starter
from stepwell.server.store.base import Store, StoreError

logger = logging.getLogger("stepwell.engine")

_RETRY_S = 1.0


class Gatherings:
    """Reads the events of a START and has the starter say how its run begins."""

    def __init__(self, store: Store, starter: Starter, env: Callable[[], Env]) -> None:
        self._store = store
        self._starter = starter
        self._env = env

    async def ready(self, view: RunView, item: Item) -> Ready | None:
        """The input with which the run begins; None while its function is not known."""
        gathered = gathered_of(item)
        events = await self._events(gathered)
        if not events:
            raise LookupError("the events of the run are gone")
        return self._starter.begin(self._env(), view.run, gathered, events, item)

    async def waiting_steps(self, run_id: str) -> tuple[str, ...]:
        """The steps that wait for a run that has not begun. Raises StoreError."""
        items = await self._store.list_items(run_id)
        return tuple(step for item in items if item.kind is WorkKind.START for step in gathered_of(item).parents)

    async def _events(self, gathered: Gathered) -> list[StoredEvent]:
        while True:
            try:
                found = await asyncio.gather(*map(self._store.get_event, gathered.events))
            except StoreError as problem:
                logger.error("%s", problem)
                await asyncio.sleep(_RETRY_S)
            else:
                return [event for event in found if event is not None]
