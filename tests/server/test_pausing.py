"""Paused functions, on an engine whose clock the test sets: what starts nothing, what goes on, who is told."""

import msgspec
import pytest

from stepwell.core.model import Run, RunStatus
from stepwell.core.reruns import CannotRerun
from stepwell.server.runtime.engine import Engine
from stepwell.wire.events import IncomingEvent, parse_events
from tests.server.test_flow_control import NoFetcher, Rig, function, invoking, n, ns, running, seen

FLOWS: dict[str, dict[str, object]] = {
    "plain": {},
    "debounce": {"debounce": {"period": "1s"}},
    "batch": {"batchEvents": {"maxSize": 2, "timeout": "1s"}},
    "singleton": {"singleton": {"mode": "cancel"}},
    "rate limit": {"rateLimit": {"limit": 1, "period": "1h"}},
}


def parsed(rig: Rig, event: dict[str, object]) -> list[IncomingEvent]:
    body = msgspec.json.encode([{"name": "x", **event}])
    return parse_events(body, "application/json", rig.engine.now())


def states(runs: list[Run]) -> list[tuple[str, str | None]]:
    return [(run.status.value, run.skipped) for run in runs]


@pytest.mark.parametrize("flow", FLOWS)
async def test_an_event_that_comes_meanwhile_starts_nothing_and_is_recorded_once(flow: str) -> None:
    """What it would have counted for, such as a rate limit, is left alone."""
    async with running(seen, function("a-f", "x", **FLOWS[flow])) as rig:
        await rig.engine.pausing.pause("a-f")
        (event,) = await rig.send(n(1, id="e"))
        ids = [event]
        for _ in range(2):  # the same request, sent again
            (again,) = await rig.engine.ingest(parsed(rig, n(1, id="e")), ids)
            assert again == event
        await rig.pass_time(2_000)
        assert states(await rig.runs()) == [("skipped", "paused")]
        [run] = await rig.runs()
        assert await rig.engine.runs_of(event) == [run.run_id]
        assert run.ended_at is not None
        assert await rig.engine.pausing.resume("a-f")
        await rig.send(n(1, id="e"), n(2))
        await rig.pass_time(2_000)
        assert rig.caller.calls, "the id of an event that was skipped is free"
        [first, *_] = ns(await rig.outputs())
        assert first[0] == (2 if flow in ("debounce", "singleton") else 1)


async def test_runs_that_are_there_go_on_also_those_that_have_not_begun() -> None:
    config = {"debounce": {"period": "1h"}}
    async with running(seen, function("a-f", "x"), function("a-g", "y", **config)) as rig:
        rig.caller.open.clear()
        await rig.send(n(1), n(2, name="y"), n(3, ts=rig.engine.now() + 1_000))
        await rig.settle()
        for function_id in ("a-f", "a-g"):
            assert await rig.engine.pausing.pause(function_id) is None
        await rig.send(n(4))
        rig.caller.open.set()
        await rig.pass_time(3_600_000)
        assert sorted(ns(await rig.outputs())) == [[1], [2], [3]]
        assert len(await rig.runs("skipped")) == 1


async def test_runs_that_are_there_are_cancelled_where_that_is_wanted() -> None:
    async with running(seen, function("a-f", "x"), function("a-g", "y")) as rig:
        rig.caller.open.clear()
        await rig.send(n(1), n(2, name="y"), n(3, ts=rig.engine.now() + 1_000))
        await rig.settle()
        made = await rig.engine.pausing.pause("a-f", cancel_running=True)
        assert made is not None
        await rig.settle()
        rig.caller.open.set()
        await rig.pass_time(10_000)
        assert [run.function_id for run in await rig.runs("cancelled")] == ["a-f", "a-f"]
        assert [run.function_id for run in await rig.runs("completed")] == ["a-g"]
        assert await rig.engine.pausing.resume("a-f")
        await rig.send(n(4))
        await rig.settle()
        assert ns(await rig.outputs())[-1] == [4]


async def test_who_invokes_it_gets_an_error_that_says_so() -> None:
    async with running(invoking("a-c", 1), function("a-p", "x"), function("a-c", None)) as rig:
        await rig.engine.pausing.pause("a-c")
        await rig.send(n(0))
        await rig.settle()
        [parent] = await rig.runs("completed")
        [error] = msgspec.json.decode(parent.output or b"")
        assert error["name"] == "InvokedFunctionPaused"
        assert "a-c is paused" in error["message"]
        assert states([run for run in await rig.runs() if run.function_id == "a-c"]) == [("skipped", "paused")]


async def test_a_run_is_not_begun_anew_while_it_is_paused_and_a_skipped_one_can_be_afterwards() -> None:
    async with running(seen, function("a-f", "x")) as rig:
        await rig.engine.pausing.pause("a-f")
        await rig.send(n(1))
        [run] = await rig.runs()
        with pytest.raises(CannotRerun, match="a-f is paused"):
            await rig.engine.rerun(run.run_id)
        await rig.engine.pausing.resume("a-f")
        assert await rig.engine.rerun(run.run_id) is not None
        await rig.settle()
        assert ns(await rig.outputs()) == [[1]]


async def test_other_functions_of_the_event_start_and_the_failure_handler_of_a_paused_one_does_not() -> None:
    async with running(seen, function("a-f", "x"), function("a-g", "x")) as rig:
        await rig.engine.pausing.pause("a-f")
        await rig.send(n(1))
        await rig.settle()
        assert [(run.function_id, run.status) for run in await rig.runs()] == [
            ("a-f", RunStatus.SKIPPED),
            ("a-g", RunStatus.COMPLETED),
        ]


async def test_it_stays_paused_over_restarts_and_syncs() -> None:
    async with running(seen, function("a-f", "x")) as rig:
        await rig.engine.pausing.pause("a-f")
        since = rig.engine.pausing.since("a-f")
        await rig.engine.drain(1)
        await rig.engine.close()
        rig.engine = Engine(rig.store, NoFetcher(), rig.caller, clock=rig.clock)
        rig.functions = (function("a-f", "x", debounce={"period": "1s"}),)
        await rig.open()
        await rig.send(n(1))
        await rig.pass_time(2_000)
        assert states(await rig.runs()) == [("skipped", "paused")]
        await rig.engine.pausing.pause("a-f")
        assert rig.engine.pausing.since("a-f") == since
        assert await rig.engine.pausing.resume("a-f")
        assert not await rig.engine.pausing.resume("a-f")


async def test_a_function_that_nobody_has_can_not_be_paused() -> None:
    async with running(seen, function("a-f", "x")) as rig:
        with pytest.raises(LookupError):
            await rig.engine.pausing.pause("a-none")
        assert not await rig.engine.pausing.resume("a-none")
        assert await rig.store.pauses() == []
