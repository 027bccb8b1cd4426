"""Which functions are paused: stored, and known to every process."""

import asyncio
import logging
from collections.abc import Callable

from stepwell.core.model import Cancellation, Pause
from stepwell.server.clock import Clock
from stepwell.server.runtime.cancelling import Cancelling
from stepwell.server.store.base import Store

logger = logging.getLogger("stepwell.engine")


class Pausing:
    """Pauses and resumes functions by their ids.

    ``owner``: the app of a function, None where it is unknown. ``changed`` is told of functions that are paused or resumed.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        cancelling: Cancelling,
        new_id: Callable[[], str],
        owner: Callable[[str], str | None],
        changed: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._cancelling = cancelling
        self._new_id = new_id
        self._owner = owner
        self._changed = changed
        self._since: dict[str, int] = {}
        self._order = asyncio.Lock()

    async def load(self) -> None:
        """Take up what is stored. Raises StoreError."""
        async with self._order:
            before, self._since = self._since, {one.function_id: one.paused_at for one in await self._store.pauses()}
        for function_id in sorted(before.keys() ^ self._since.keys()):
            self._changed(function_id)

    def since(self, function_id: str) -> int | None:
        """Since when (ms) it is paused; None when it is not."""
        return self._since.get(function_id)

    def paused(self, function_id: str) -> bool:
        """Whether it starts no runs."""
        return function_id in self._since

    async def pause(self, function_id: str, *, cancel_running: bool = False) -> Cancellation | None:
        """Let it start no runs from now on; with ``cancel_running``, end those that there are, by the cancellation that is
        given back. Raises StoreError, LookupError when there is no such function."""
        app_id = self._owner(function_id)
        if app_id is None:
            raise LookupError(function_id)
        await self._store.save_pause(Pause(function_id, self._clock.now()))
        await self.load()
        logger.info("function %s is paused", function_id, extra={"event": "function.paused", "function": function_id})
        if not cancel_running:
            return None
        now = self._clock.now()
        made = Cancellation(
            cancellation_id=self._new_id(), created_at=now, app_id=app_id, function_id=function_id, started_before=now
        )
        await self._cancelling.add(made)
        return made

    async def resume(self, function_id: str) -> bool:
        """Let it start runs again; False when it was not paused. Raises StoreError."""
        dropped = await self._store.drop_pause(function_id)
        await self.load()
        if dropped:
            said = {"event": "function.resumed", "function": function_id}
            logger.info("function %s is resumed", function_id, extra=said)
        return dropped
