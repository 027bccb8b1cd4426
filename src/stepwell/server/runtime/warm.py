"""The runs in memory, bounded in number and size; the coldest that are idle are forgotten, and loaded again when needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from stepwell.server.runtime.actors import Actor

MAX_RUNS: Final = 2_000
MAX_BYTES: Final = 256 * 1024 * 1024
"""Of results and events. A run may have 32 MiB of them: two thousand that wait would be 64 GiB."""
_LOOKED_AT = 100


class Warm:
    """Actors by run id, in the order of use. What is at work is never forgotten: it may exceed the bounds."""

    def __init__(self, runs: int = MAX_RUNS, size: int = MAX_BYTES) -> None:
        self._max_runs = runs
        self._max_size = size
        self._actors: OrderedDict[str, Actor] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self.size = 0
        """Bytes of results and events that are held."""

    def __len__(self) -> int:
        return len(self._actors)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._actors

    def get(self, run_id: str) -> Actor | None:
        """The actor of the run, if it is in memory."""
        return self._actors.get(run_id)

    def these(self, run_ids: Iterable[str]) -> dict[str, Actor]:
        """Those of them that are in memory."""
        return {run_id: self._actors[run_id] for run_id in run_ids if run_id in self._actors}

    def all(self) -> list[Actor]:
        """All that are in memory."""
        return list(self._actors.values())

    def put(self, actor: Actor) -> None:
        """Keep it, as the warmest."""
        self._actors[actor.view.run.run_id] = actor
        self.measure(actor)

    def use(self, actor: Actor) -> None:
        """It is the warmest now."""
        if actor.view.run.run_id in self._actors:
            self._actors.move_to_end(actor.view.run.run_id)

    def measure(self, actor: Actor) -> None:
        """Its state is another one by now."""
        run_id = actor.view.run.run_id
        if run_id in self._actors:
            size = actor.view.run.state_bytes + sum(map(len, actor.view.events))
            self.size += size - self._sizes.get(run_id, 0)
            self._sizes[run_id] = size
            if len(self._actors) > self._max_runs or self.size > self._max_size:
                self._forget(actor)

    def drop(self, run_id: str) -> None:
        """Forget it, if it is there."""
        if self._actors.pop(run_id, None) is not None:
            self.size -= self._sizes.pop(run_id)

    def _forget(self, newest: Actor) -> None:
        """Those that are at work go to the back, so that they can not hide the idle ones for ever."""
        for run_id, actor in list(islice(self._actors.items(), _LOOKED_AT)):
            if actor.idle and actor is not newest:
                self.drop(run_id)
            else:
                self._actors.move_to_end(run_id)
