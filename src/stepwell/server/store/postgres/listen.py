"""Hears of what other processes have stored: work that is due, apps that were synced."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from stepwell.server.store.base import TOPICS, StoreError
from stepwell.server.store.postgres.connect import connect
from stepwell.server.store.postgres.failures import explained

logger = logging.getLogger("stepwell.store")

_AGAIN_S = 2.0
_ALIVE_S = 30.0


class Listener:
    """A connection of its own on which PostgreSQL tells. Made again when it is lost: something may have been missed then."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._told: Callable[[str], None] = lambda _: None
        self._task: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self.ready = asyncio.Event()
        """Set while it listens."""
        self._channel = ""
        self._came: Callable[[str], None] = lambda _: None
        self._others: Callable[[str], None] = lambda _: None
        self._missed: Callable[[], None] = lambda: None

    def carry(
        self, channel: str, came: Callable[[str], None], others: Callable[[str], None], missed: Callable[[], None]
    ) -> None:
        """Before ``start``: listen to ``channel`` as well. ``came``: told of what is sent there; ``others``: of processes that
        begin to listen; ``missed``: something may have been missed."""
        self._channel, self._came, self._others, self._missed = channel, came, others, missed

    def start(self, told: Callable[[str], None]) -> None:
        """Begin; ``told`` is called in the loop, with a topic."""
        self._told = told
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="stepwell-listener")

    async def stop(self) -> None:
        """End. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=5)

    async def _run(self) -> None:
        failing = False
        while True:
            try:
                with explained():
                    await self._listen()
                failing = False
            except StoreError as problem:
                if not failing:
                    logger.error("%s", problem)
                failing = True
            except Exception:
                logger.exception("listening to the database failed")
            await asyncio.sleep(_AGAIN_S)

    async def _listen(self) -> None:
        conn = await connect(self._url)
        try:
            self._lost.clear()
            conn.add_termination_listener(self._ended)
            await conn.add_listener("stepwell", self._heard)
            if self._channel:
                await conn.add_listener(self._channel, self._sent)
            self._missed()
            self.ready.set()
            for topic in TOPICS:
                self._told(topic)
            while not self._lost.is_set():
                try:
                    await asyncio.wait_for(self._lost.wait(), _ALIVE_S)
                except TimeoutError:
                    await conn.execute("SELECT 1")
        finally:
            self.ready.clear()
            conn.terminate()

    def _ended(self, _conn: Any) -> None:
        self._lost.set()

    def _heard(self, _conn: Any, _pid: int, _channel: str, topic: str) -> None:
        if topic.startswith("listen "):
            self._others(topic)
        else:
            self._told(topic)

    def _sent(self, _conn: Any, _pid: int, _channel: str, payload: str) -> None:
        self._came(payload)
