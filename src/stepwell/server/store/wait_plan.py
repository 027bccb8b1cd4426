"""What becomes of waits in one transaction. Pure."""

from dataclasses import dataclass, field

from msgspec.structs import replace

from stepwell.core.model import Wait
from stepwell.core.outputs import Commit
from stepwell.server.store.codec import contested

Where = tuple[str, str]
"""Run id and step id."""


@dataclass(slots=True)
class WaitPlan:
    """``stored``: those that are there, of those that the commits take; ``holders``: who waits for the signals that they
    name; ``names``: the events that something waits for, of those that the commits ask about, and of what they put;
    ``changes``: what is to be written, None for what is to be deleted."""

    stored: set[Where] = field(default_factory=set[Where])
    holders: dict[str, Where] = field(default_factory=dict[str, Where])
    names: set[str] = field(default_factory=set[str])
    changes: dict[Where, Wait | None] = field(default_factory=dict[Where, Wait | None])

    def allow(self, commit: Commit) -> bool:
        """Whether the commit's checks on waits pass."""
        return all(self._is_there(where) for where in commit.take) and not any(
            contested(wait, commit, self._holder) for wait in commit.waits
        )

    def _is_there(self, where: Where) -> bool:
        return self.changes[where] is not None if where in self.changes else where in self.stored

    def _holder(self, signal: str) -> Where | None:
        where = self.holders.get(signal)
        if where is None or where not in self.changes:
            return where
        wait = self.changes[where]
        return where if wait is not None and wait.signal == signal else None

    def put(self, wait: Wait, seq: int) -> None:
        """Insert or replace; who waited for its signal before does so no more."""
        where = (wait.run_id, wait.step_id)
        if wait.signal is not None:
            holder = self._holder(wait.signal)
            if holder is not None:
                self.changes[holder] = None
            self.holders[wait.signal] = where
        else:
            self.names.add(wait.name)
        self.changes[where] = replace(wait, seq=seq)

    def drop(self, where: Where) -> None:
        """Delete."""
        self.changes[where] = None
