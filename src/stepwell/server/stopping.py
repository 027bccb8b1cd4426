"""Being told to stop: SIGINT and SIGTERM, heard even while user code holds the main thread's loop."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import FrameType

_GRACE_S = 7.0
"""What giving up suspended runs and closing the store may take after the drain, seconds."""
_AGAIN_S = 2.0
_BLOCKED = "stepwell: user code did not give way; what was going on goes on at the next start"


@contextmanager
def told_to_stop(stop: asyncio.Semaphore, drain_s: float) -> Generator[None]:
    """Release ``stop`` at each signal, on the running loop, which must be the main thread's: two at once are two.

    A block that has not ended ``drain_s`` seconds and some after the first signal, or 2 s after the second, ends the process
    hard, as a kill would: a ``time.sleep`` in user code can hold the loop for ever. The state on the disk stands that.
    """
    loop = asyncio.get_running_loop()
    timers: list[threading.Timer] = []

    def heard(_number: int, _frame: FrameType | None) -> None:
        first = not timers
        timer = threading.Timer(drain_s + _GRACE_S if first else _AGAIN_S, leave, (1 if first else 130, _BLOCKED))
        timer.daemon = True
        timer.start()
        timers.append(timer)
        loop.call_soon_threadsafe(stop.release)

    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(code: int, message: str = "") -> None:
    """End the process now, whatever its threads and tasks do."""
    with suppress(OSError):  # whoever read it has left
        if message:
            sys.stderr.write(f"{message}\n")
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
