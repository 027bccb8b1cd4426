"""How much memory the bodies that arrive right now may take, all together."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

ARRIVING_BYTES = 256 * 1024 * 1024


class Budget:
    """So many bytes. Who finds too few left waits, in the order of asking: its upstream can send no more meanwhile."""

    def __init__(self, size: int = ARRIVING_BYTES) -> None:
        self._size = size
        self._left = size
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    @asynccontextmanager
    async def held(self, wanted: int) -> AsyncGenerator[None]:
        """Have so many bytes for a while. More than there are in all means all of them."""
        wanted = min(wanted, self._size)
        await self._take(wanted)
        try:
            yield
        finally:
            self._left += wanted
            self._serve()

    async def _take(self, wanted: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, wanted))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._left += wanted
            self._serve()
            raise

    def _serve(self) -> None:
        """Whose turn it is, as far as it goes."""
        while self._waiting:
            turn, wanted = self._waiting[0]
            if turn.done():  # it has given up
                self._waiting.popleft()
            elif wanted <= self._left:
                self._waiting.popleft()
                self._left -= wanted
                turn.set_result(None)
            else:
                return
