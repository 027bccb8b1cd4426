"""The time of an attempt: as ``asyncio.timeout``, without its coroutines, as each of hundreds of requests at once has one."""

import asyncio


class Deadline:
    """Cancels the task that makes it in ``seconds``, unless it is closed before."""

    __slots__ = ("_asked", "_passed", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None  # coroutines run in tasks
        self._task = task
        self._asked = task.cancelling()
        self._passed = False
        self._timer = asyncio.get_running_loop().call_later(seconds, self._pass)

    def _pass(self) -> None:
        self._passed = True
        self._task.cancel()

    def close(self) -> bool:
        """The work is over. Whether it has been cancelled by this alone, and not by others as well."""
        self._timer.cancel()
        passed, self._passed = self._passed, False
        return passed and self._task.uncancel() <= self._asked
