"""What waits, in memory: for events by name, for signals."""

from collections.abc import Iterator

from msgspec.structs import replace

from stepwell.core.model import Wait
from stepwell.server.store.base import WaitQuery

Where = tuple[str, str]
"""Run id and step id."""


class WaitTable:
    """Waits by run and step; at most one for each signal."""

    def __init__(self) -> None:
        self._waits: dict[Where, Wait] = {}
        self._signals: dict[str, Where] = {}

    def __contains__(self, where: Where) -> bool:
        return where in self._waits

    def __iter__(self) -> Iterator[Where]:
        return iter(self._waits)

    def put(self, wait: Wait, seq: int) -> None:
        """Insert or replace; who waited for its signal before does so no more."""
        where = (wait.run_id, wait.step_id)
        self.drop(where)
        if wait.signal is not None:
            holder = self._signals.get(wait.signal)
            if holder is not None:
                self.drop(holder)
            self._signals[wait.signal] = where
        self._waits[where] = replace(wait, seq=seq)

    def drop(self, where: Where) -> None:
        """Delete, if it is there."""
        wait = self._waits.pop(where, None)
        if wait is not None and wait.signal is not None:
            del self._signals[wait.signal]

    def holder(self, signal: str) -> Where | None:
        """Who waits for a signal."""
        return self._signals.get(signal)

    def signal(self, signal: str) -> Wait | None:
        """What waits for a signal."""
        where = self._signals.get(signal)
        return None if where is None else self._waits[where]

    def find(self, query: WaitQuery, before: int) -> list[Wait]:
        """See :meth:`Store.find_waits`; of those with a ``seq`` below ``before``."""
        at = set(query.at)
        found = (
            wait
            for wait in self._of(query.name)
            if query.after < wait.seq < before and (wait.path is None or (wait.path, wait.value) in at)
        )
        return sorted(found, key=lambda wait: wait.seq)[: query.limit]

    def places(self, name: str) -> list[Wait]:
        """See :meth:`Store.waited_places`."""
        found: dict[str, Wait] = {}
        for wait in self._of(name):
            if wait.path is not None:
                found.setdefault(wait.path, wait)
        return [found[path] for path in sorted(found)]

    def names(self) -> set[str]:
        """See :meth:`Store.waiting_names`."""
        return {wait.name for wait in self._waits.values() if wait.signal is None}

    def _of(self, name: str) -> Iterator[Wait]:
        return (wait for wait in self._waits.values() if wait.signal is None and wait.name == name)
