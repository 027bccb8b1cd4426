"""Runs that wait for events, and runs that events end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import stepwell
from stepwell.core.model import StoredEvent
from stepwell.core.outputs import Commit
from stepwell.core.waits import delivery
from stepwell.embed import Embedded
from stepwell.server.build import open_store

client = stepwell.Client(app_id="waits")


@client.create_function(fn_id="order", trigger=stepwell.TriggerEvent(event="order"))
async def order(ctx: stepwell.Context) -> object:
    paid = await ctx.step.wait_for_event(
        "paid", event="paid", if_exp="event.data.id == async.data.id", timeout=str(ctx.event.data["timeout"])
    )
    return None if paid is None else paid.data["amount"]


@client.create_function(fn_id="either", trigger=stepwell.TriggerEvent(event="either"))
async def either(ctx: stepwell.Context) -> str:
    tasks = {
        asyncio.create_task(ctx.step.wait_for_event(name, event=name, timeout="1h"), name=name) for name in ("a", "b")
    }
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return done.pop().get_name()


@client.create_function(fn_id="sync", trigger=stepwell.TriggerEvent(event="sync"))
def sync(ctx: stepwell.ContextSync) -> object:
    found = ctx.step.wait_for_event("go", event="go", timeout="1h")
    return found.name if found is not None else None


@client.create_function(fn_id="typo", trigger=stepwell.TriggerEvent(event="typo"), retries=0)
async def typo(ctx: stepwell.Context) -> None:
    await ctx.step.wait_for_event("go", event="go", if_exp="async.data.(", timeout="1h")


@client.create_function(
    fn_id="endable",
    trigger=stepwell.TriggerEvent(event="endable"),
    cancel=[stepwell.Cancel(event="end", if_exp="event.data.id == async.data.id")],
)
async def endable(ctx: stepwell.Context) -> None:
    await ctx.step.sleep("long", "1h")


@client.create_function(fn_id="watcher", trigger=stepwell.TriggerEvent(event="watch"))
async def watcher(ctx: stepwell.Context) -> object:
    ended = await ctx.step.wait_for_event(
        "ended",
        event="inngest/function.finished",
        if_exp="async.data.function_id == 'waits-short' && async.data.event.data.id == event.data.id",
        timeout="1h",
    )
    return None if ended is None else ended.data["result"]


@client.create_function(fn_id="short", trigger=stepwell.TriggerEvent(event="short"))
async def short(ctx: stepwell.Context) -> str:
    if ctx.event.data.get("fails"):
        raise stepwell.NonRetriableError("asked to")
    return f"short {ctx.event.data['id']}"


@client.create_function(
    fn_id="dependant",
    trigger=stepwell.TriggerEvent(event="depend"),
    cancel=[stepwell.Cancel(event="inngest/function.failed", if_exp="async.data.event.data.id == event.data.id")],
)
async def dependant(ctx: stepwell.Context) -> None:
    await ctx.step.sleep("long", "1h")


@client.create_function(fn_id="sender", trigger=stepwell.TriggerEvent(event="sender"))
async def sender(ctx: stepwell.Context) -> None:
    await ctx.step.send_event("tell", stepwell.Event(name="paid", data={"id": 1, "amount": 5}))


@client.create_function(
    fn_id="restartable",
    trigger=stepwell.TriggerEvent(event="restart"),
    cancel=[stepwell.Cancel(event="restart")],
)
async def restartable(ctx: stepwell.Context) -> None:
    await ctx.step.sleep("long", "1h")


@pytest.fixture
async def db(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'p.db'}"


@pytest.fixture
async def platform(db: str) -> AsyncIterator[Embedded]:
    async with stepwell.embedded(client, db=db) as running:
        yield running


async def begun(platform: Embedded, name: str, steps: int = 1, **data: object) -> str:
    """Start a run, and wait until so many of its steps are waiting."""
    event = await platform.send(name, data)
    async with asyncio.timeout(30):
        while True:
            found = await platform.view_of(event)
            if found is not None and len(found.steps) >= steps:
                return event
            await asyncio.sleep(0.005)


async def test_the_right_event_wakes_the_right_run(platform: Embedded) -> None:
    first = await begun(platform, "order", id=1, timeout="1h")
    second = await begun(platform, "order", id=2, timeout="1h")
    await platform.send("paid", {"id": 3, "amount": 0})
    await platform.send("paid", {"id": 2, "amount": 20})
    await platform.send("paid", {"id": 1, "amount": 10})
    await platform.send("paid", {"id": 1, "amount": 99})
    assert [run.output for run in await platform.wait(first, 10)] == [10]
    assert [run.output for run in await platform.wait(second, 10)] == [20]


async def test_two_events_of_one_request_wake_it_once(platform: Embedded) -> None:
    first = await begun(platform, "order", id=1, timeout="1h")
    await client.send(
        [
            stepwell.Event(name="paid", data={"id": 1, "amount": 1}),
            stepwell.Event(name="paid", data={"id": 1, "amount": 2}),
        ]
    )
    assert [run.output for run in await platform.wait(first, 10)] == [1]


async def test_no_event_in_time_is_none(platform: Embedded) -> None:
    [run] = await platform.send_and_wait("order", {"id": 1, "timeout": "50ms"}, timeout=30)
    assert run.status == "completed"
    assert run.output is None


async def test_the_first_of_two(platform: Embedded) -> None:
    event = await begun(platform, "either", steps=2)
    await platform.send("b")
    assert [run.output for run in await platform.wait(event, 10)] == ["b"]


async def test_in_a_sync_function(platform: Embedded) -> None:
    event = await begun(platform, "sync")
    await platform.send("go")
    assert [run.output for run in await platform.wait(event, 10)] == ["go"]


async def test_an_expression_that_can_not_be_read_fails_the_step_by_name(platform: Embedded) -> None:
    [run] = await platform.send_and_wait("typo", timeout=30)
    assert run.status == "failed"
    assert "'go' can not wait" in str(run.output)


async def test_an_event_ends_the_run_it_means(platform: Embedded) -> None:
    first = await begun(platform, "endable", id=1)
    second = await begun(platform, "endable", id=2)
    await platform.send("end", {"id": 2})
    assert [run.status for run in await platform.wait(second, 10)] == ["cancelled"]
    view = await platform.view_of(first)
    assert view is not None
    assert not view.run.status.ended


async def test_what_both_events_lack_is_not_equal(platform: Embedded) -> None:
    waits = await begun(platform, "order", timeout="500ms")
    ends = await begun(platform, "endable")
    await platform.send("paid", {"amount": 1})
    await platform.send("end", {})
    assert [run.output for run in await platform.wait(waits, 10)] == [None]
    view = await platform.view_of(ends)
    assert view is not None
    assert not view.run.status.ended


async def test_waits_outlive_the_process(db: str) -> None:
    async with stepwell.embedded(client, db=db) as first:
        event = await begun(first, "order", id=7, timeout="1h")
    async with stepwell.embedded(client, db=db) as second:
        await second.send("paid", {"id": 7, "amount": 70})
        assert [run.output for run in await second.wait(event, 10)] == [70]


async def test_the_end_of_a_run_wakes_who_waits_for_it(platform: Embedded) -> None:
    event = await begun(platform, "watch", id=2)
    await platform.send_and_wait("short", {"id": 1}, timeout=30)
    await platform.send_and_wait("short", {"id": 2}, timeout=30)
    assert [run.output for run in await platform.wait(event, 10)] == ["short 2"]


async def test_the_failure_of_a_run_ends_another(platform: Embedded) -> None:
    event = await begun(platform, "depend", id=1)
    other = await begun(platform, "depend", id=2)
    await platform.send_and_wait("short", {"id": 1, "fails": True}, timeout=30)
    assert [run.status for run in await platform.wait(event, 10)] == ["cancelled"]
    view = await platform.view_of(other)
    assert view is not None
    assert not view.run.status.ended


async def test_an_event_sent_by_a_step_wakes_another_run(platform: Embedded) -> None:
    event = await begun(platform, "order", id=1, timeout="1h")
    await platform.send("sender")
    assert [run.output for run in await platform.wait(event, 10)] == [5]


async def test_a_run_is_not_ended_by_its_own_event_and_is_by_the_next(platform: Embedded) -> None:
    first = await begun(platform, "restart")
    second = await begun(platform, "restart")
    assert [run.status for run in await platform.wait(first, 10)] == ["cancelled"]
    view = await platform.view_of(second)
    assert view is not None
    assert not view.run.status.ended


async def test_an_event_stored_before_a_kill_is_handed_out_after_it(db: str) -> None:
    async with stepwell.embedded(client, db=db) as first:
        event = await begun(first, "order", id=7, timeout="1h")
    store = open_store(db)
    await store.open()
    body = b'{"name":"paid","data":{"id":7,"amount":70},"id":"E","ts":1,"user":{}}'
    paid = StoredEvent(internal_id="E", event_id="E", name="paid", received_at=1, body=body)
    await store.transact([Commit(now=1, events=(paid,), put=(delivery(paid),))])
    await store.close()
    async with stepwell.embedded(client, db=db) as second:
        assert [run.output for run in await second.wait(event, 10)] == [70]


async def test_nothing_waits_for_a_run_that_has_ended(db: str) -> None:
    async with stepwell.embedded(client, db=db) as running:
        event = await begun(running, "either", steps=2)
        ended = await begun(running, "endable", id=1)
        await running.send("b")
        await running.wait(event, 10)
        await running.send("end", {"id": 1})
        await running.wait(ended, 10)
        await running.send_and_wait("order", {"id": 1, "timeout": "10ms"}, timeout=30)
    store = open_store(db)
    await store.open()
    assert await store.waiting_names() == set()
    await store.close()
