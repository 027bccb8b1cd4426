"""Which events anybody waits for: only those are handed out."""

from collections.abc import Iterable

from stepwell.core.model import RunKey, StoredEvent, Wait
from stepwell.core.outputs import Commit
from stepwell.core.runs import KEY_LIFETIME_MS
from stepwell.core.waits import delivery
from stepwell.server.store.base import Store

_DELIVERY = ":delivery"
"""Stands among the function ids of keys: an event that is sent twice is handed out once."""


class Waiting:
    """Knows the names that are waited for, so that other events cost nothing.

    Where other processes write to the store as well, the store finds out when it has the event.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names: set[str] = set()

    async def load(self) -> None:
        """Read the names. Raises StoreError."""
        self._names = await self._store.waiting_names()

    def note(self, waits: Iterable[Wait]) -> None:
        """These are about to be stored."""
        self._names.update(wait.name for wait in waits)

    def awaits(self, names: Iterable[str]) -> bool:
        """Whether something may wait for events of one of these names."""
        return not self._store.exclusive or any(name in self._names for name in names)

    def commit(self, event: StoredEvent, *, needed: bool = True) -> Commit:
        """The commit that stores the event, and the item that hands it to what waits for it.

        ``needed``: the event is stored even if nothing waits for it.
        """
        now = event.received_at
        if not self.awaits([event.name]):
            return Commit(now=now, events=(event,))
        once = RunKey(_DELIVERY, event.internal_id, now + KEY_LIFETIME_MS)
        waited = None if self._store.exclusive else event.name
        handed = Commit(now=now, key=once, waited=waited, put=(delivery(event),))
        if needed:
            return Commit(now=now, events=(event,), more=(handed,))
        handed.events = (event,)
        return handed
