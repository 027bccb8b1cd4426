"""One event loop in a background thread, for frameworks whose requests are handled by plain functions."""

import asyncio
import os
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from stepwell.sdk.serve import Handler, Reply
from stepwell.wire.constants import CALL_TIMEOUT_S

T = TypeVar("T")


class LoopThread:
    """An event loop in a daemon thread, started on first use; in a forked process, started anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started: tuple[int, asyncio.AbstractEventLoop, threading.Thread] | None = None

    @property
    def running(self) -> bool:
        """Whether it has been started in this process."""
        return self._started is not None and self._started[0] == os.getpid()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin to run a coroutine there."""
        with self._lock:
            if self._started is None or not self.running:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=loop.run_forever, name="stepwell", daemon=True)
                thread.start()
                self._started = os.getpid(), loop, thread
            return asyncio.run_coroutine_threadsafe(coroutine, self._started[1])

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float = CALL_TIMEOUT_S) -> T:
        """Run a coroutine there and wait for its result. Raises ``TimeoutError`` after ``timeout`` seconds."""
        future = self.submit(coroutine)
        try:
            return future.result(timeout)
        finally:
            future.cancel()  # says nothing to one that is done

    def close(self) -> None:
        """Stop the loop. A later coroutine starts a new one."""
        with self._lock:
            running, self._started = self._started if self.running else None, None
        if running is not None:
            _, loop, thread = running
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


class BlockingHandler:
    """A handler for callers that block: all requests, of any thread, are handled on one loop."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.thread = LoopThread()

    def handle(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, raw_request: object = None
    ) -> Reply:
        """As the handler's own. Raises ``TimeoutError`` when a call takes longer than a call may."""
        return self.thread.run(self.handler.handle(method, url, headers, body, raw_request))

    def close(self) -> None:
        """Give up the suspended executions that are kept, and stop the loop."""
        if self.thread.running:
            self.thread.run(self.handler.close())
        self.thread.close()
