"""When runs start and how many there are at once: throttle, slots of runs, priority, time-outs, events of the future."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from stepwell import (
    Client,
    Concurrency,
    Context,
    NonRetriableError,
    Priority,
    Throttle,
    Timeouts,
    TriggerEvent,
    embedded,
)
from stepwell.cli.tree import render
from stepwell.embed import Embedded
from tests.e2e.ugly import api, finish, until
from tests.e2e.ugly import platform as running

GO = TriggerEvent(event="go")


class Watch:
    """What runs note of themselves: when their first calls began, and how many were between start and end at most."""

    def __init__(self) -> None:
        self.began: list[tuple[float, Any]] = []
        self.active: set[Any] = set()
        self.most = 0

    def start(self, ctx: Context) -> None:
        self.began.append((time.time(), ctx.event.data.get("n")))
        self.active.add(ctx.run_id)
        self.most = max(self.most, len(self.active))

    def end(self, ctx: Context) -> None:
        self.active.discard(ctx.run_id)

    @property
    def order(self) -> list[Any]:
        return [n for _, n in self.began]


def watched(watch: Watch, sleep: str = "1ms", **options: Any) -> Client:
    """An app whose runs have three calls, with sleeps between them."""
    client = Client(app_id="starts")

    @client.create_function(fn_id="f", trigger=GO, **options)
    async def f(ctx: Context) -> Any:
        await ctx.step.run("begin", watch.start, ctx)
        await ctx.step.sleep("nap", sleep)
        await ctx.step.run("end", watch.end, ctx)
        return ctx.event.data.get("n")

    return client


async def ended(platform: Embedded, events: list[str]) -> list[str]:
    return [(await finish(platform, event)).status for event in events]


async def shown(platform: Embedded, event: str) -> str:
    """The run as ``stepwell runs ID`` shows it."""
    (run,) = (await api(platform, "GET", f"/v1/events/{event}/runs"))[2]["data"]
    found = (await api(platform, "GET", f"/v1/runs/{run['run_id']}/steps"))[2]
    return "\n".join(render(found["metadata"]["run"], found["data"]))


async def until_shown(platform: Embedded, event: str, text: str) -> None:
    async def there() -> bool:
        return text in await shown(platform, event)

    await until(there)


async def test_throttled_runs_start_in_order_at_their_pace_over_a_restart(tmp_path: Path) -> None:
    watch, db = Watch(), f"sqlite:///{tmp_path}/a.db"
    options = {"throttle": Throttle(limit=10, period="1s", burst=2)}
    async with embedded(watched(watch, **options), db=db, drain=1) as platform:
        events = [await platform.send("go", {"n": n}) for n in range(12)]
        await until(lambda: len(watch.began) >= 5)
    async with embedded(watched(watch, **options), db=db) as platform:
        assert await ended(platform, events) == ["completed"] * 12
    assert watch.order == list(range(12))
    times = [at for at, _ in watch.began]
    for first in range(12):
        for last in range(first, 12):
            assert last - first + 1 <= 2 + (times[last] - times[first] + 0.5) * 10


async def test_retries_of_the_first_call_do_not_wait_for_the_throttle_again(tmp_path: Path) -> None:
    client, tries = Client(app_id="starts"), list[int]()

    @client.create_function(fn_id="f", trigger=GO, throttle=Throttle(limit=1, period="1h"), retries=3)
    async def f(ctx: Context) -> int:
        tries.append(ctx.attempt)
        if ctx.attempt < 3:
            raise ValueError("not yet")
        return ctx.attempt

    async with embedded(client, db=f"sqlite:///{tmp_path}/a.db", retry_interval=0.01) as platform:
        assert (await finish(platform, await platform.send("go"))).output == 3
    assert tries == [0, 1, 2, 3]


async def test_runs_of_other_keys_are_not_throttled(tmp_path: Path) -> None:
    watch = Watch()
    client = watched(watch, throttle=Throttle(limit=1, period="1h", key="event.data.user"))
    async with running(tmp_path, client) as platform:
        events = [await platform.send("go", {"n": n, "user": n % 2}) for n in range(4)]
        assert await ended(platform, events[:2]) == ["completed"] * 2
        await until_shown(platform, events[3], "waiting for the throttle of function starts-f until")
        assert sorted(watch.order) == [0, 1]


async def test_no_more_runs_at_once_than_their_slots_though_they_sleep(tmp_path: Path) -> None:
    watch = Watch()
    async with embedded(watched(watch, run_concurrency=2), db=f"sqlite:///{tmp_path}/a.db") as platform:
        events = [await platform.send("go", {"n": n}) for n in range(10)]
        assert await ended(platform, events) == ["completed"] * 10
    assert watch.most == 2
    assert watch.order == list(range(10))


async def test_a_run_that_waits_for_a_slot_says_so_and_the_slot_outlives_the_process(tmp_path: Path) -> None:
    watch = Watch()
    client = watched(watch, "1h", run_concurrency=Concurrency(1, key="event.data.user"))
    async with running(tmp_path, client) as platform:
        first = await platform.send("go", {"n": 0, "user": "a"})
        await until(lambda: watch.order == [0])
        second = await platform.send("go", {"n": 1, "user": "a"})
        other = await platform.send("go", {"n": 2, "user": "b"})
        await until_shown(platform, second, "waiting for the concurrency limit of the runs of function starts-f")
        await until(lambda: watch.order == [0, 2])
    async with running(tmp_path, client) as platform:
        await until_shown(platform, second, "waiting for the concurrency limit of the runs of function starts-f")
        view = await platform.view_of(first)
        assert view is not None
        await api(platform, "DELETE", f"/v1/runs/{view.run.run_id}")
        await until(lambda: watch.order == [0, 2, 1])
        assert (await finish(platform, first)).status == "cancelled"
        assert other


@pytest.mark.parametrize("ending", ["fails", "returns"])
async def test_however_a_run_ends_its_slot_is_free(tmp_path: Path, ending: str) -> None:
    client = Client(app_id="starts")

    @client.create_function(fn_id="f", trigger=GO, run_concurrency=1)
    async def f(ctx: Context) -> None:
        if ending == "fails":
            raise NonRetriableError("no")

    async with embedded(client, db=f"sqlite:///{tmp_path}/a.db") as platform:
        events = [await platform.send("go") for _ in range(5)]
        assert set(await ended(platform, events)) == {"failed" if ending == "fails" else "completed"}


async def test_a_run_of_a_higher_priority_goes_first(tmp_path: Path) -> None:
    watch = Watch()
    client = watched(
        watch, concurrency=1, run_concurrency=1, priority=Priority("event.data.vip ? 600 : event.data.oops")
    )
    async with embedded(client, db=f"sqlite:///{tmp_path}/a.db") as platform:
        events = [await platform.send("go", {"n": 0, "vip": True})]
        await until(lambda: watch.order == [0])
        rest = [{"n": 1}, {"n": 2}, {"n": 3, "vip": True}, {"n": 4, "vip": True}]
        ids = await client.send([{"name": "go", "data": data} for data in rest])
        assert await ended(platform, [*events, *ids]) == ["completed"] * 5
    assert watch.order == [0, 3, 4, 1, 2]


async def test_a_run_that_can_not_start_in_time_is_cancelled(tmp_path: Path) -> None:
    watch = Watch()
    client = watched(watch, "1h", run_concurrency=1, timeouts=Timeouts(start="300ms"))
    async with running(tmp_path, client) as platform:
        first = await platform.send("go", {"n": 0})
        await until(lambda: watch.order == [0])
        late = await finish(platform, await platform.send("go", {"n": 1}))
        assert late.status == "cancelled"
        assert "had not started within 300ms" in str(late.output)
        view = await platform.view_of(first)
        assert view is not None
        assert not view.run.status.ended, "it has started"
        assert watch.order == [0]


@pytest.mark.parametrize("where", ["sleep", "first call"])
async def test_a_run_that_takes_too_long_is_cancelled_wherever_it_is(tmp_path: Path, where: str) -> None:
    client, given_up = Client(app_id="starts"), asyncio.Event()

    @client.create_function(fn_id="f", trigger=GO, timeouts=Timeouts(finish="300ms"))
    async def f(ctx: Context) -> None:
        if where == "sleep":
            await ctx.step.sleep("long", "1h")
        try:
            await asyncio.sleep(60)
        finally:
            given_up.set()

    async with embedded(client, db=f"sqlite:///{tmp_path}/a.db") as platform:
        result = await finish(platform, await platform.send("go"))
        assert result.status == "cancelled"
        assert "had not finished within 300ms of its start" in str(result.output)
        if where == "first call":
            await asyncio.wait_for(given_up.wait(), 10)


async def test_the_clean_up_of_a_run_that_timed_out_is_told_why(tmp_path: Path) -> None:
    client, told = Client(app_id="starts"), list[Any]()

    @client.create_function(fn_id="f", trigger=GO, timeouts=Timeouts(finish="100ms"))
    async def f(ctx: Context) -> None:
        await ctx.step.sleep("long", "1h")

    @client.create_function(fn_id="clean", trigger=TriggerEvent("inngest/function.cancelled"))
    async def clean(ctx: Context) -> None:
        told.append(ctx.event.data["function_id"])

    async with embedded(client, db=f"sqlite:///{tmp_path}/a.db") as platform:
        await platform.send("go")
        await until(lambda: told == ["starts-f"])


async def test_an_event_of_the_future_starts_its_run_then(tmp_path: Path) -> None:
    watch = Watch()
    client = watched(watch, timeouts=Timeouts(start="10s"))
    async with running(tmp_path, client) as platform:
        due = time.time() + 0.5
        (event,) = await client.send([{"name": "go", "data": {"n": 1}, "ts": int(due * 1000)}])
        assert (await finish(platform, event)).status == "completed"
        assert watch.began[0][0] >= due - 0.002


async def test_both_of_two_limits_hold_each_over_its_scope(tmp_path: Path) -> None:
    """Two functions share the slots of a key of the account; each has its own besides."""
    client = Client(app_id="starts")
    now: dict[str, int] = {}
    most: dict[str, int] = {}

    def count(names: list[str], by: int) -> None:
        for name in names:
            now[name] = now.get(name, 0) + by
            most[name] = max(most.get(name, 0), now[name])

    def declare(fn_id: str, own: int) -> None:
        shared = Concurrency(3, key="event.data.api", scope="account")

        @client.create_function(fn_id=fn_id, trigger=GO, concurrency=[Concurrency(own), shared])
        async def f(ctx: Context) -> None:
            async def work() -> None:
                names = [fn_id, str(ctx.event.data["api"])]
                count(names, 1)
                await asyncio.sleep(0.02)
                count(names, -1)

            await ctx.step.run("work", work)

    declare("narrow", 1)
    declare("wide", 9)
    async with embedded(client, db=f"sqlite:///{tmp_path}/a.db") as platform:
        events = [await platform.send("go", {"api": api_name}) for api_name in ("x", "y") * 6]
        for event in events:
            assert {result.status for result in await platform.wait(event, 20)} == {"completed"}
    assert most["narrow"] == 1
    assert most["x"] <= 3 >= most["y"]
