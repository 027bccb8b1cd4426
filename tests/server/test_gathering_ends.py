"""Runs that end while they wait for more events: whoever invoked them is told, also once their batch is full."""

import msgspec
import pytest

from stepwell.core.model import Cancellation, RunStatus
from stepwell.server.runtime.engine import Engine
from stepwell.wire.functions import parse_registration
from tests.server.test_flow_control import Rig, function, invoking, n, running

OPEN, FULL = 3, 2


async def invoked(rig: Rig) -> str:
    """A batch of two invocations that can not begin; its run."""
    rig.engine._starter.begin = lambda *_: None  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    await rig.send(n(0))
    await rig.settle()
    [child] = [run for run in await rig.runs() if run.function_id == "a-c"]
    assert child.gathering
    return child.run_id


async def told(rig: Rig) -> list[str]:
    """The names of the errors that the invoking function got."""
    [parent] = await rig.runs("completed")
    return [each["name"] for each in msgspec.json.decode(parent.output or b"")]


async def bulk(engine: Engine, started_before: int) -> None:
    await engine.cancelling.add(
        Cancellation(
            cancellation_id=engine.new_id(),
            created_at=engine.now(),
            app_id="a",
            function_id="a-c",
            started_before=started_before,
        )
    )


@pytest.mark.parametrize("size", [OPEN, FULL])
@pytest.mark.parametrize("later", [False, True])
async def test_bulk_cancellation_tells_who_invoked_them(size: int, later: bool) -> None:
    """Both when the cancellation ends the run itself, and when the run is about to begin after it was asked for."""
    config = {"batchEvents": {"maxSize": size, "timeout": "1s"}}
    async with running(invoking("a-c", 2), function("a-p", "x"), function("a-c", None, **config)) as rig:
        run_id = await invoked(rig)
        if later:
            rig.engine.cancelling._remember(  # pyright: ignore[reportPrivateUsage]
                Cancellation(
                    cancellation_id="C",
                    created_at=rig.engine.now(),
                    app_id="a",
                    function_id="a-c",
                    started_before=rig.engine.now(),
                )
            )
        else:
            await bulk(rig.engine, rig.engine.now())
        await rig.pass_time(2_000)
        assert (await rig.view(run_id)).run.status is RunStatus.CANCELLED
        assert await told(rig) == ["InvokedFunctionCancelled"] * 2


@pytest.mark.parametrize("size", [OPEN, FULL])
async def test_a_function_that_is_removed_ends_its_run_with_a_clear_error(size: int) -> None:
    config = {"batchEvents": {"maxSize": size, "timeout": "1s"}}
    async with running(invoking("a-c", 2), function("a-p", "x"), function("a-c", None, **config)) as rig:
        run_id = await invoked(rig)
        body = {"url": "http://app/api", "appName": "a", "sdk": "js:v1", "functions": [function("a-p", "x")]}
        await rig.engine.register(parse_registration(msgspec.json.encode(body)))
        await rig.pass_time(2_000)
        run = (await rig.view(run_id)).run
        assert run.status is RunStatus.FAILED
        assert b"the app 'a' has no function 'a-c' any more" in (run.output or b"")
        assert await told(rig) == ["FunctionNotFound"] * 2


async def test_events_that_are_gone_end_the_run_and_tell_who_invoked_it() -> None:
    config = {"batchEvents": {"maxSize": FULL, "timeout": "1s"}}
    async with running(invoking("a-c", 2), function("a-p", "x"), function("a-c", None, **config)) as rig:
        await invoked(rig)
        rig.store._events.clear()  # pyright: ignore[reportPrivateUsage]
        await rig.pass_time(2_000)
        assert await told(rig) == ["InternalError"] * 2
