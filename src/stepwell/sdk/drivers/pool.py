"""Threads for blocking user code. Daemon threads: one that never comes back does not keep the process from ending."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

MAX_THREADS = 64
"""How many blocking steps and functions run at once; more wait for a thread."""

_Job = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Pool:
    """A pool of daemon threads that grows when all are busy."""

    def __init__(self, size: int = MAX_THREADS) -> None:
        self._size = size
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads = 0

    def submit(self, function: Callable[..., Any], *args: Any) -> "Future[Any]":
        """Run ``function(*args)`` in a thread."""
        future: Future[Any] = Future()
        self._jobs.put((future, function, args))
        if not self._idle.acquire(blocking=False):
            self._grow()
        return future

    def lost(self) -> None:
        """A thread will never come back: make room for another one."""
        with self._lock:
            self._threads -= 1

    def close(self) -> None:
        """Let idle threads end."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _grow(self) -> None:
        with self._lock:
            if self._threads >= self._size:
                return
            self._threads += 1
        threading.Thread(target=self._work, name="stepwell-worker", daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            _run(*job)
            del job
            self._idle.release()


def _run(future: "Future[Any]", function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function(*args))
    except BaseException as error:  # noqa: BLE001 - the caller gets it, whatever it is
        future.set_exception(error)
        del future  # the error's traceback leads to this frame
