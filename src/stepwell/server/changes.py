"""Which runs changed, for whoever watches: a numbered list in memory, bounded; written on hot paths, so it only notes ids."""

import asyncio
import contextlib
import secrets
from collections import deque

KEPT = 4_096
"""Changes that are remembered: who was away for more of them looks at everything again."""


class Changes:
    """All methods belong to the engine's loop. ``epoch`` names this process: numbers of another one mean nothing here."""

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(4)
        self.last = 0
        self.closed = False
        self._ids: deque[str] = deque(maxlen=KEPT)
        self._waiting: set[asyncio.Future[None]] = set()

    def note(self, run_id: str) -> None:
        """A run is not as it was, or is new."""
        self.last += 1
        self._ids.append(run_id)
        if self._waiting:
            self._wake()

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
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(changed)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await changed
        finally:
            self._waiting.discard(changed)

    def close(self) -> None:
        """The platform stops: nobody waits any longer."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        for changed in self._waiting:
            if not changed.done():
                changed.set_result(None)
