"""Every feature of the function model, for the official Python SDK; the same functions as in ``features_app.mjs``."""

import asyncio
import datetime
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import inngest
import inngest.fast_api
import uvicorn
from fastapi import FastAPI

client = inngest.Inngest(app_id="f", is_production=False)
ran: list[str] = []
functions: list[Any] = []
Body = Callable[[inngest.Context], Awaitable[Any]]


def note(text: str) -> str:
    ran.append(text)
    return text


def seconds(number: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=number)


def fn(name: str, triggers: Any = None, **options: Any) -> Callable[[Body], Any]:
    def wrap(body: Body) -> Any:
        made = client.create_function(
            fn_id=name,
            trigger=triggers or inngest.TriggerEvent(event=f"f/{name}"),
            **{"retries": 1, **options},
        )(body)
        functions.append(made)
        return made

    return wrap


def number(ctx: inngest.Context, key: str = "n") -> Any:
    return ctx.event.data.get(key)


@fn("child")
async def child(ctx: inngest.Context) -> Any:
    if number(ctx, "bad"):
        raise inngest.NonRetriableError("a bad child")
    if number(ctx, "slow"):
        await ctx.step.sleep("slow", seconds(20))

    async def twice() -> int:
        return int(number(ctx)) * 2

    return {"twice": await ctx.step.run("twice", twice)}


@fn("waits")
async def waits(ctx: inngest.Context) -> Any:
    found = await ctx.step.wait_for_event(
        "reply", event="f/reply", timeout=seconds(30), if_exp="async.data.to == event.data.me"
    )
    return found and found.data["text"]


@fn("waits-in-vain")
async def waits_in_vain(ctx: inngest.Context) -> Any:
    return await ctx.step.wait_for_event("never", event="f/never", timeout=seconds(1))


@fn("invokes")
async def invokes(ctx: inngest.Context) -> Any:
    by_object = await ctx.step.invoke("object", function=child, data={"n": 2})
    by_id = await ctx.step.invoke_by_id("by id", app_id="f", function_id="child", data={"n": 3})
    return [by_object["twice"], by_id["twice"]]  # type: ignore[index]


@fn("invokes-badly")
async def invokes_badly(ctx: inngest.Context) -> Any:
    try:
        await ctx.step.invoke("child", function=child, data=dict(ctx.event.data), timeout=seconds(1))
    except inngest.StepError as problem:
        return [True, problem.message]
    return "not raised"


@fn("sends")
async def sends(ctx: inngest.Context) -> Any:
    events = [inngest.Event(name="f/sent", data={"n": n}) for n in (1, 2)]
    return len(await ctx.step.send_event("send", events))


@fn("sent")
async def sent(ctx: inngest.Context) -> Any:
    return note(f"sent {number(ctx)}")


@fn("until")
async def until(ctx: inngest.Context) -> Any:
    async def when() -> float:
        return time.time() + 1.5

    at = await ctx.step.run("when", when)
    await ctx.step.sleep_until("until", datetime.datetime.fromtimestamp(at, datetime.UTC))
    return int((time.time() - at) * 1000)


@fn("settles")
async def settles(ctx: inngest.Context) -> Any:
    async def good() -> int:
        return 1

    async def bad() -> int:
        raise ValueError("no")

    async def settled(name: str, body: Callable[[], Awaitable[int]]) -> str:
        try:
            await ctx.step.run(name, body)
        except inngest.StepError:
            return "rejected"
        return "fulfilled"

    pair = (functools.partial(settled, "good", good), functools.partial(settled, "bad", bad))
    return list(await ctx.group.parallel(pair))


@fn("races")
async def races(ctx: inngest.Context) -> Any:
    async def quick() -> str:
        return "quick"

    async def slow() -> str:
        await ctx.step.sleep("slow", seconds(5))
        return "slow"

    pair = (functools.partial(ctx.step.run, "quick", quick), slow)
    found = await ctx.group.parallel(pair, parallel_mode=inngest.ParallelMode.RACE)  # type: ignore[arg-type]
    return found[0]


@fn("wild", inngest.TriggerEvent(event="f/wild.*"))
async def wild(ctx: inngest.Context) -> Any:
    return ctx.event.name


@fn(
    "some",
    [inngest.TriggerEvent(event="f/some", expression="event.data.n > 1"), inngest.TriggerEvent(event="f/other")],
)
async def some(ctx: inngest.Context) -> Any:
    return note(f"some {number(ctx)}")


@fn("cron", inngest.TriggerCron(cron="TZ=Europe/Berlin * * * * *"))
async def cron(ctx: inngest.Context) -> Any:
    return note("cron")


@fn("throttled", throttle=inngest.Throttle(limit=1, period=seconds(1)))
async def throttled(ctx: inngest.Context) -> Any:
    return note(f"{int(time.time() * 1000)} {number(ctx)}")


@fn("rated", rate_limit=inngest.RateLimit(limit=2, period=seconds(3600), key="event.data.user"))
async def rated(ctx: inngest.Context) -> Any:
    return note(f"rated {number(ctx, 'user')}")


@fn("debounced", debounce=inngest.Debounce(period=seconds(1), key="event.data.user"))
async def debounced(ctx: inngest.Context) -> Any:
    return note(f"debounced {number(ctx)}")


@fn("batched", batch_events=inngest.Batch(max_size=3, timeout=seconds(2)))
async def batched(ctx: inngest.Context) -> Any:
    return [event.data["n"] for event in ctx.events]


@fn("once", idempotency="event.data.order")
async def once(ctx: inngest.Context) -> Any:
    return note(f"once {number(ctx, 'order')}")


@fn("single", singleton=inngest.Singleton(mode="skip", key="event.data.user"))
async def single(ctx: inngest.Context) -> Any:
    await ctx.step.sleep("busy", seconds(3))


@fn("newest", singleton=inngest.Singleton(mode="cancel"))
async def newest(ctx: inngest.Context) -> Any:
    await ctx.step.sleep("busy", seconds(30 if number(ctx, "long") else 1))
    return number(ctx)


@fn("important", priority=inngest.Priority(run="event.data.n"), concurrency=[inngest.Concurrency(limit=1)])
async def important(ctx: inngest.Context) -> Any:
    note(f"important {number(ctx)}")
    await asyncio.sleep(0.5 if int(number(ctx)) < 0 else 0.005)


@fn("by-key", concurrency=[inngest.Concurrency(limit=1, key="event.data.user"), inngest.Concurrency(limit=2)])
async def by_key(ctx: inngest.Context) -> Any:
    note(f"begin {number(ctx, 'user')}")
    await asyncio.sleep(0.1)
    note(f"end {number(ctx, 'user')}")


@fn("cancelled", cancel=[inngest.Cancel(event="f/cancel", if_exp="async.data.n == event.data.n")])
async def cancelled(ctx: inngest.Context) -> Any:
    await ctx.step.sleep("long", seconds(30))


@fn("too-long", timeouts=inngest.Timeouts(finish=seconds(1)))
async def too_long(ctx: inngest.Context) -> Any:
    await ctx.step.sleep("long", seconds(30))


@fn("too-late", concurrency=[inngest.Concurrency(limit=1)], timeouts=inngest.Timeouts(start=seconds(1)))
async def too_late(ctx: inngest.Context) -> Any:
    await asyncio.sleep(2.5)


async def on_failure(ctx: inngest.Context) -> Any:
    data: Any = ctx.event.data

    async def body() -> str:
        return note(f"failed: {data['error']['message']} of {data['event']['data']['n']}")

    return await ctx.step.run("note", body)


@fn("fails", retries=0, on_failure=on_failure)
async def fails(ctx: inngest.Context) -> Any:
    raise ValueError("broken")


@fn(
    "finished",
    inngest.TriggerEvent(event="inngest/function.finished", expression="event.data.function_id == 'f-child'"),
)
async def finished(ctx: inngest.Context) -> Any:
    data: Any = ctx.event.data
    return note(f"finished {data['function_id']} {data['_inngest']['status']}")


@fn(
    "clean-up",
    inngest.TriggerEvent(event="inngest/function.cancelled", expression="event.data.function_id == 'f-cancelled'"),
)
async def clean_up(ctx: inngest.Context) -> Any:
    data: Any = ctx.event.data
    return note(f"cleaned up after {data['event']['data']['n']}")


app = FastAPI()
inngest.fast_api.serve(app, client, functions)


@app.get("/ran")
async def what_ran() -> Any:
    return {"ran": ran}


class Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"listening on http://127.0.0.1:{port}", flush=True)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning")).run()
