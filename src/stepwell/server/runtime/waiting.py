"""Wakes what waits for an event, in the transaction that stores the event."""

from collections.abc import Iterable

from stepwell.core.model import Item, StoredEvent, Wait
from stepwell.core.outputs import Commit
from stepwell.core.waits import meets, woken
from stepwell.server.store.base import Store
from stepwell.wire.jsons import decode


class Waiting:
    """Knows the names that are waited for, so that other events cost nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names: set[str] = set()

    async def load(self) -> None:
        """Read the names. Raises StoreError."""
        self._names = await self._store.waiting_names()

    def note(self, waits: Iterable[Wait]) -> None:
        """These are about to be stored."""
        self._names.update(wait.name for wait in waits)

    async def commit_of(self, event: StoredEvent, taken: set[tuple[str, str]]) -> Commit:
        """The commit that stores the event and wakes what waited for it. ``taken``: what an earlier event of the batch woke.

        The first event that meets a wait has it: the wait goes in the same commit. Raises StoreError.
        """
        now = event.received_at
        found = [wait for wait in await self._candidates(event.name) if (wait.run_id, wait.step_id) not in taken]
        body: dict[str, object] = decode(event.body) if any(wait.expression for wait in found) else {}
        met = [wait for wait in found if meets(wait, body, now)]
        items: list[Item] = [woken(wait, event.body, now) for wait in met]
        gone = tuple((wait.run_id, wait.step_id) for wait in met)
        taken.update(gone)
        return Commit(now=now, events=(event,), put=tuple(items), unwait=gone)

    async def _candidates(self, name: str) -> list[Wait]:
        if self._store.exclusive and name not in self._names:
            return []
        return await self._store.find_waits([name])
