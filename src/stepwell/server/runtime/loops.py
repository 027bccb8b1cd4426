"""What the loops of the engine have in common: an error is a line in the log, and they go on until they are ended."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from stepwell.server.store.base import StoreError

logger = logging.getLogger("stepwell.engine")

_T = TypeVar("_T")
_END_S = 5.0
_RETRY_S = 1.0


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel them, and wait a few seconds for their ends."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_END_S)


@contextmanager
def survived(what: str) -> Generator[None]:
    """Log what goes wrong in the block, and nothing more: that the store does not work, or, after ``what``, a defect."""
    try:
        yield
    except StoreError as problem:
        logger.error("%s", problem)
    except Exception:
        logger.exception("%s", what)


async def until_done(work: Callable[[], Awaitable[_T]]) -> _T:
    """What ``work`` gives; again and again while the store does not work."""
    while True:
        try:
            return await work()
        except StoreError as problem:
            logger.error("%s", problem)
        await asyncio.sleep(_RETRY_S)
