"""Two stores with one history, for Hypothesis to write."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from typing import TypeVar

from hypothesis.stateful import RuleBasedStateMachine

from stepwell.server.store.base import Store
from stepwell.server.store.memory import MemoryStore

_T = TypeVar("_T")


class Pair(RuleBasedStateMachine):
    """The memory store, which says what is right, and one on a disk, which the test makes and opens."""

    disk: Store

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.memory = MemoryStore()

    def teardown(self) -> None:
        self.loop.run(self.disk.close())
        self.loop.close()
        self.folder.cleanup()

    def both(self, verb: Callable[[Store], Awaitable[_T]]) -> _T:
        """What both answer, which is the same."""

        async def ask() -> tuple[_T, _T]:
            return await verb(self.memory), await verb(self.disk)

        expected, found = self.loop.run(ask())
        assert found == expected
        return expected
