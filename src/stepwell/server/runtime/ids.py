"""Ids that a process gives: ULIDs, each greater than every one before."""

import os

from stepwell.server.clock import Clock
from stepwell.wire.ids import ulid


class Ids:
    """A source of ULIDs on ``clock``. Within a millisecond the last number counts up."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._time = 0
        self._tail = 0

    def new(self) -> str:
        """A fresh id."""
        now = self._clock.now()
        if now > self._time:
            self._time, self._tail = now, int.from_bytes(os.urandom(9), "big")
        else:
            self._tail += 1
        return ulid(self._time, self._tail.to_bytes(10, "big"))
