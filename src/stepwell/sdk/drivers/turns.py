"""The order in which tasks go on that come back from threads: that of the tasks, and not of chance.

Parallel requests of a durable client have one id, and are told apart by the order in which they are made. A client may do
something in a thread before each, such as reading a file, getting a token, or asking what platform it runs on: then the next
replay would give the answers to others.
"""

import asyncio

from stepwell.sdk.drivers import introspect
from stepwell.sdk.drivers.introspect import AnyFuture, AnyTask
from stepwell.sdk.drivers.settle import Patience
from stepwell.sdk.drivers.waits import Owned

_LONGEST_S = Patience().real


class Turns:
    """Of the tasks of one execution."""

    __slots__ = ("_owned", "_taking")

    def __init__(self, owned: Owned) -> None:
        self._owned = owned
        self._taking: dict[AnyTask, AnyFuture] = {}

    async def mine(self) -> None:
        """Return once no task that is before the current one is in a thread, or waits for its turn.

        It costs no time: what is found meanwhile would not be reported before those threads have ended.
        """
        task = asyncio.current_task()
        if task is None or self._before(task) is None:
            return
        turn = self._taking[task] = asyncio.get_running_loop().create_future()
        try:
            while (before := self._before(task)) is not None:
                ended, _ = await asyncio.wait([before], timeout=_LONGEST_S)
                if not ended:
                    break
        finally:
            del self._taking[task]
            turn.set_result(None)

    def _before(self, task: AnyTask) -> AnyFuture | None:
        """What the first such task waits for; None where its thread may be waiting for this very request."""
        found = self._first(task)
        return None if found is None or self._owned.bridged() else found

    def _first(self, task: AnyTask) -> AnyFuture | None:
        for other in self._owned.active:
            if other is task:
                break
            waits_for = introspect.waiter(other)
            if other in self._taking:
                return self._taking[other]
            if waits_for is not None and not waits_for.done() and introspect.from_thread(waits_for):
                return waits_for
        return None
