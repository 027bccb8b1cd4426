"""What ends an attempt whose time is up: its deadline alone becomes an outcome, and whoever cancels it has it cancelled."""

import asyncio
from collections.abc import Callable

from stepwell.server.fetcher.deadline import Deadline


async def ended(seconds: float, others: Callable[[asyncio.Task[str]], None], *, swallows: bool = False) -> str:
    """How work that takes for ever ends; ``others`` are called once it is under way."""

    async def work() -> str:
        task = asyncio.current_task()
        assert task is not None
        watch = Deadline(seconds)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if swallows:
                raise RuntimeError("another end") from None
            if watch.close():
                assert task.cancelling() == 0
                return "its time is up"
            raise
        finally:
            watch.close()
        return "done"

    task = asyncio.get_running_loop().create_task(work())
    await asyncio.sleep(0)
    others(task)
    async with asyncio.timeout(20):
        try:
            return await task
        except asyncio.CancelledError:
            return f"cancelled, {task.cancelling()} asked"
        except RuntimeError:
            return f"failed, {task.cancelling()} asked"


async def test_the_deadline_alone() -> None:
    assert await ended(0.01, lambda _: None) == "its time is up"


async def test_somebody_else() -> None:
    assert await ended(60, lambda task: task.cancel()) == "cancelled, 1 asked"


async def test_somebody_else_in_the_turn_in_which_it_passes() -> None:
    def soon(task: asyncio.Task[str]) -> None:
        asyncio.get_running_loop().call_later(0, task.cancel)  # behind the deadline's own timer

    assert await ended(0, soon) == "cancelled, 1 asked"


async def test_an_error_in_place_of_the_cancellation_leaves_none_behind() -> None:
    assert await ended(0.01, lambda _: None, swallows=True) == "failed, 0 asked"
