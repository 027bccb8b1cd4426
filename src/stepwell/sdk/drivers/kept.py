"""The suspended executions that are kept: bounded, the coldest goes first."""

from stepwell.sdk.drivers.execution import Execution

MAX_KEPT = 1000
MAX_TASKS = 100_000
"""Over all kept executions: what bounds their memory."""


class Kept:
    """Executions by run id, in the order of use."""

    def __init__(self, count: int = MAX_KEPT, tasks: int = MAX_TASKS) -> None:
        self._count = count
        self._tasks = tasks
        self._sizes: dict[str, int] = {}
        self._total = 0
        self._runs: dict[str, Execution] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def get(self, run_id: str) -> Execution | None:
        """The kept execution of the run."""
        return self._runs.get(run_id)

    def put(self, execution: Execution) -> list[Execution]:
        """Keep it as the warmest. Returns those that have to go for it.

        None of them is in use, but for what was kept for the same run: that has to go once it is not.
        """
        run_id = execution.run_id
        before = self._runs.get(run_id, execution)
        evicted = [] if before is execution else [before]
        self.drop(before)
        size = 1 + len(execution.owned.active) + len(execution.owned.parked)
        self._runs[run_id] = execution
        self._sizes[run_id] = size
        self._total += size
        if len(self._runs) > self._count or self._total > self._tasks:
            for other in list(self._runs.values()):
                if len(self._runs) <= self._count and self._total <= self._tasks:
                    break
                if not other.lock.locked():
                    self.drop(other)
                    evicted.append(other)
        return evicted

    def drop(self, execution: Execution) -> None:
        """Forget it, if it is the one that is kept for its run."""
        run_id = execution.run_id
        if self._runs.get(run_id) is execution:
            del self._runs[run_id]
            self._total -= self._sizes.pop(run_id)

    def clear(self) -> list[Execution]:
        """Forget all of them; returns them."""
        found = list(self._runs.values())
        self._runs.clear()
        self._sizes.clear()
        self._total = 0
        return found
