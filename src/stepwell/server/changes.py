"""Which runs changed, for whoever watches: a numbered list in memory, bounded; written on hot paths, so it only notes ids.

An event that begins no run is noted by its own id.
"""

import asyncio
import secrets
from collections import deque

import msgspec

from stepwell.server.bell import Bell
from stepwell.server.post import Post

KEPT = 4_096
"""Changes that are remembered: who was away for more of them looks at everything again."""
MOST = 200
"""More runs are not told of one by one."""
GATHER_S = 0.25
"""Changes within so many seconds are told together."""
ALL, _ONE = "runs", "run"


def _key(run_id: str | None) -> str:
    return ALL if run_id is None else f"{_ONE}/{run_id}"


class Changes:
    """All methods belong to the engine's loop. ``epoch`` names this process: numbers of another one mean nothing here."""

    def __init__(self, post: Post | None = None) -> None:
        self._post = post or Post()
        self._post.takers |= {ALL: self._came, _ONE: self._came}
        self._untold: set[str] = set()
        self.epoch = secrets.token_hex(4)
        self.last = 0
        self.closed = False
        self._ids: deque[str] = deque(maxlen=KEPT)
        self._bell = Bell()

    def note(self, run_id: str) -> None:
        """A run is not as it was, or is new. Who watches at another process is told soon."""
        self._note(run_id)
        if self._post.wanted(ALL) or self._post.wanted(f"{_ONE}/{run_id}"):
            if not self._untold:
                asyncio.get_running_loop().call_later(GATHER_S, self._tell)
            self._untold.add(run_id)

    async def listen(self, run_id: str | None) -> None:
        """Hear of one run, or of all, at other processes too. Raises StoreError."""
        await self._post.listen([_key(run_id)])

    def leave(self, run_id: str | None) -> None:
        """The opposite."""
        self._post.leave([_key(run_id)])

    def _note(self, run_id: str) -> None:
        self.last += 1
        self._ids.append(run_id)
        self._bell.ring()

    def since(self, number: int) -> set[str] | None:
        """The runs that changed after the change ``number``; None when that is not known any more."""
        missed = self.last - number
        if missed < 0 or missed > len(self._ids):
            return None
        return {self._ids[-back] for back in range(1, missed + 1)}

    async def wait(self, number: int, seconds: float) -> None:
        """Return once there is a change after ``number``, after so many seconds, or when the platform stops."""
        if self.last != number or self.closed:
            return
        await self._bell.wait(seconds)

    def close(self) -> None:
        """The platform stops: nobody waits any longer."""
        self.closed = True
        self._bell.ring()

    def _tell(self) -> None:
        ids, self._untold = self._untold, set()
        if self._post.wanted(ALL):
            self._post.send(ALL, msgspec.msgpack.encode(sorted(ids) if len(ids) <= MOST else None))
        for run_id in ids:
            if self._post.wanted(f"{_ONE}/{run_id}"):
                self._post.send(f"{_ONE}/{run_id}", msgspec.msgpack.encode([run_id]))

    def _came(self, _key: str, data: bytes | None) -> None:
        ids = None if data is None else msgspec.msgpack.decode(data, type=list[str] | None)
        if ids is None:  # nobody knows which: all are looked at again
            self._ids.clear()
            self.last += 1
            self._bell.ring()
            return
        for run_id in ids:
            self._note(run_id)
