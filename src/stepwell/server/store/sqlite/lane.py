"""A thread of its own for something that blocks, and that only that thread may touch."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, Generic, ParamSpec, TypeVar

from stepwell.server.store.sqlite.failures import explained

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")


class Lane(Generic[_T]):
    """Holds one ``_T``, made, used and ended in one thread. SQLite's errors come out as StoreErrors naming ``path``."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._held: list[_T] = []

    async def start(self, make: Callable[[], _T]) -> None:
        """Make the thing."""
        await self._run(lambda: self._held.append(make()))

    async def do(self, verb: Callable[Concatenate[_T, _P], _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """One hop: run a method of the thing and wait for its result."""
        (held,) = self._held
        return await self._run(lambda: verb(held, *args, **kwargs))

    async def stop(self, end: Callable[[_T], None]) -> None:
        """End the thing, if it was made, after what is under way; then the thread."""

        def finish() -> None:
            while self._held:
                end(self._held.pop())

        try:
            await self._run(finish)
        finally:
            self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], _R]) -> _R:
        def explain() -> _R:
            with explained(self._path):
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, explain)
