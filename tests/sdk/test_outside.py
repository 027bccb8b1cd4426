"""The SDK's own input and output for a run."""

import asyncio
import inspect

import pytest

from stepwell.sdk.drivers.execution import Execution
from tests.sdk.fake_engine import QUICK, serve


async def test_reading_that_is_cancelled_before_it_begins_is_closed() -> None:
    async def function(ctx: object) -> None: ...

    async def read() -> bytes:
        return b""

    client, _ = serve(function)
    execution = Execution(client.functions[0], "run1", QUICK)
    reading = read()
    task = asyncio.create_task(execution.outside(reading))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inspect.getcoroutinestate(reading) == inspect.CORO_CLOSED
    assert not execution.owned.loading
