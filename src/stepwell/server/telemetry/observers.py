"""The engine's seam for whoever looks on: told of what has been stored, never asked, and unable to do harm."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from stepwell.core.inputs import Input
from stepwell.core.model import RunView, StoredEvent
from stepwell.core.outputs import Commit
from stepwell.core.unstarted import Unstarted

Missed = tuple[StoredEvent, Unstarted]

logger = logging.getLogger("stepwell.telemetry")


class Observer:
    """Told of what was stored, on the engine's loop, once, by the process that decided it. Each method does nothing here."""

    def received(self, events: Sequence[StoredEvent], missed: Sequence[Missed] = ()) -> None:
        """Events came in from outside; ``missed``: functions that some of them would have started, and did not."""

    def moved(self, before: RunView, commit: Commit, inputs: Sequence[Input]) -> None:
        """``commit`` was applied to a run, because of ``inputs``. ``before``: the run as it was, to be read only."""

    def wrote(self, seconds: float, commits: int) -> None:
        """One transaction of the store, with so many commits."""

    def close(self) -> None:
        """The engine has ended. May block for seconds."""


class Observers(Observer):
    """Several at once. One that fails is told of in the log and harms nobody."""

    def __init__(self) -> None:
        self._all: list[Observer] = []

    def __len__(self) -> int:
        return len(self._all)

    def add(self, observer: Observer) -> None:
        """One more, from now on."""
        self._all.append(observer)

    def received(self, events: Sequence[StoredEvent], missed: Sequence[Missed] = ()) -> None:
        """Tell all."""
        for observer in self._all:
            try:
                observer.received(events, missed)
            except Exception:
                logger.exception("events could not be observed")

    def moved(self, before: RunView, commit: Commit, inputs: Sequence[Input]) -> None:
        """Tell all."""
        for observer in self._all:
            try:
                observer.moved(before, commit, inputs)
            except Exception:
                logger.exception("a transition of run %s could not be observed", before.run.run_id)

    def wrote(self, seconds: float, commits: int) -> None:
        """Tell all."""
        for observer in self._all:
            observer.wrote(seconds, commits)

    def close(self) -> None:
        """Tell all at once: together they take as long as the slowest."""
        with ThreadPoolExecutor(len(self._all) or 1, "stepwell-close") as pool:
            for closed in [pool.submit(observer.close) for observer in self._all]:
                closed.result()
