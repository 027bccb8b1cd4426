"""Signals: one sender, one step that waits."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

import stepwell
from stepwell.embed import Embedded
from tests.ports import free_port

client = stepwell.Client(app_id="signals")


@client.create_function(fn_id="asks", trigger=stepwell.TriggerEvent(event="ask"))
async def asks(ctx: stepwell.Context) -> object:
    answer = await ctx.step.wait_for_signal(
        "answer",
        signal=str(ctx.event.data["signal"]),
        timeout=str(ctx.event.data.get("timeout", "1h")),
        on_conflict="replace" if ctx.event.data.get("replace") else "fail",
    )
    return None if answer is None else [answer.signal, answer.data]


@client.create_function(fn_id="asks-sync", trigger=stepwell.TriggerEvent(event="ask-sync"))
def asks_sync(ctx: stepwell.ContextSync) -> object:
    answer = ctx.step.wait_for_signal("answer", signal="sync", timeout="1h")
    return answer.data if answer is not None else None


@client.create_function(fn_id="answers", trigger=stepwell.TriggerEvent(event="answer"))
async def answers(ctx: stepwell.Context) -> str | None:
    return await ctx.step.send_signal("send", signal=str(ctx.event.data["signal"]), data={"from": "a step"})


@client.create_function(fn_id="answers-sync", trigger=stepwell.TriggerEvent(event="answer-sync"))
def answers_sync(ctx: stepwell.ContextSync) -> str | None:
    return ctx.step.send_signal("send", signal="sync", data=7)


@pytest.fixture(params=["memory:", "sqlite"])
async def platform(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Embedded]:
    db = "memory:" if request.param == "memory:" else f"sqlite:///{tmp_path / 'p.db'}"
    async with stepwell.embedded(client, db=db) as running:
        yield running


async def begun(platform: Embedded, name: str, **data: object) -> str:
    """Start a run, and wait until its step waits."""
    event = await platform.send(name, data)
    async with asyncio.timeout(30):
        while True:
            found = await platform.view_of(event)
            if found is not None and found.steps:
                return event
            await asyncio.sleep(0.005)


async def output(platform: Embedded, event: str) -> object:
    (run,) = await platform.wait(event, 10)
    assert run.status == "completed", run.output
    return run.output


async def test_a_signal_wakes_the_step_that_waits_for_it(platform: Embedded) -> None:
    first, second = await begun(platform, "ask", signal="a"), await begun(platform, "ask", signal="b")
    view = await platform.view_of(second)
    assert view is not None
    assert await client.send_signal("b", {"yes": [1, None]}) == view.run.run_id
    assert await output(platform, second) == ["b", {"yes": [1, None]}]
    assert await client.send_signal("b") is None
    assert await client.send_signal("a") is not None
    assert await output(platform, first) == ["a", None]


async def test_no_signal_in_time_is_none(platform: Embedded) -> None:
    (run,) = await platform.send_and_wait("ask", {"signal": "late", "timeout": "30ms"}, timeout=30)
    assert (run.status, run.output) == ("completed", None)
    assert await client.send_signal("late") is None


async def test_steps_send_and_sync_functions_wait(platform: Embedded) -> None:
    waiting, sync = await begun(platform, "ask", signal="s"), await begun(platform, "ask-sync")
    (run,) = await platform.send_and_wait("answer", {"signal": "s"}, timeout=30)
    view = await platform.view_of(waiting)
    assert view is not None
    assert run.output == view.run.run_id
    assert await output(platform, waiting) == ["s", {"from": "a step"}]
    await platform.send_and_wait("answer-sync", timeout=30)
    assert await output(platform, sync) == 7


async def test_a_second_waiter_fails_its_run_and_leaves_the_first(platform: Embedded) -> None:
    first = await begun(platform, "ask", signal="one")
    (second,) = await platform.send_and_wait("ask", {"signal": "one"}, timeout=30)
    assert second.status == "failed"
    assert isinstance(second.output, dict)
    assert second.output["name"] == "Error"
    assert "signal conflict" in second.output["message"]
    await platform.signal("one", 1)
    assert await output(platform, first) == ["one", 1]
    (third,) = await platform.wait(await begun_and_told(platform, "one"), 10)
    assert third.status == "completed"


async def begun_and_told(platform: Embedded, signal: str) -> str:
    event = await begun(platform, "ask", signal=signal)
    assert await platform.signal(signal) is not None
    return event


async def test_a_signal_is_taken_over_and_the_old_waiter_keeps_its_timeout(platform: Embedded) -> None:
    first = await begun(platform, "ask", signal="mine", timeout="1s")
    second = await begun(platform, "ask", signal="mine", replace=True)
    await platform.signal("mine", "for the second")
    assert await output(platform, second) == ["mine", "for the second"]
    assert await output(platform, first) is None


async def test_of_many_at_once_one_waits_and_of_many_senders_one_is_heard(platform: Embedded) -> None:
    events = await asyncio.gather(*(platform.send("ask", {"signal": "rush"}) for _ in range(20)))
    async with asyncio.timeout(20):
        while True:
            views = [await platform.view_of(event) for event in events]
            if sum(view is not None and view.run.status.ended for view in views) == 19:
                break
            await asyncio.sleep(0.01)
    told = await asyncio.gather(*(client.send_signal("rush", number) for number in range(20)))
    (winner,) = [run_id for run_id in told if run_id is not None]
    ended = [(await platform.wait(event, 10))[0] for event in events]
    assert sorted(run.status for run in ended) == ["completed"] + ["failed"] * 19
    (heard,) = [run for run in ended if run.status == "completed"]
    assert heard.run_id == winner
    assert heard.output == ["rush", told.index(winner)]


async def test_the_endpoint(tmp_path: Path) -> None:
    async with stepwell.embedded(client, db="memory:", port=free_port()) as platform:
        async with httpx2.AsyncClient(base_url=platform.url, trust_env=False) as http:
            event = await begun(platform, "ask", signal="rest")
            view = await platform.view_of(event)
            assert view is not None
            answer = await http.post("/v1/signals", json={"signal": "rest", "data": {"n": 1}, "more": 1})
            assert answer.status_code == 200
            assert answer.json()["data"] == {"run_id": view.run.run_id}
            assert await output(platform, event) == ["rest", {"n": 1}]
            again = await http.post("/v1/signals", json={"signal": "rest"})
            assert again.status_code == 404
            assert again.json()["status"] == 404
            for bad in (b"{", b"[]", b'{"signal":1}', b'{"signal":""}', b'{"data":1}', b'{"signal":"a","data":tru}'):
                assert (await http.post("/v1/signals", content=bad)).status_code == 400
        other = stepwell.Client(app_id="elsewhere", api_base_url=platform.url, is_production=False)
        event = await begun(platform, "ask", signal="http")
        assert await other.send_signal("http", [1]) is not None
        assert await other.send_signal("http", [1]) is None
        assert await output(platform, event) == ["http", [1]]


async def test_what_a_signal_may_be() -> None:
    with pytest.raises(ValueError, match="a signal has a name"):
        await client.send_signal("")
    with pytest.raises(stepwell.ValueNotSerializable, match="the data of the signal 'a'"):
        await client.send_signal("a", object())
    with pytest.raises(stepwell.StepwellError, match=r"await client\.send_signal"):
        client.send_signal_sync("a")
