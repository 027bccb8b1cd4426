"""The functions of the golden files, declared with either SDK."""

import datetime
from typing import Any

from tests.conformance.golden.libs import Lib, openai

VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "integer": -7,
    "large integer": 2**53 - 1,
    "float": 1.5,
    "text": 'é "quoted" \n \U0001f600',
    "empty text": "",
    "list": [1, [2, None], []],
    "object": {"a": {"b": [True]}, "empty": {}},
}
UNTIL = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def declare(lib: Lib, client: Any) -> list[Any]:
    """Every function of the golden files."""
    made: list[Any] = []

    def function(name: str, **options: Any) -> Any:
        trigger = options.pop("trigger", lib.module.TriggerEvent(event="go"))

        def decorate(handler: Any) -> Any:
            made.append(client.create_function(fn_id=name, trigger=trigger, **options)(handler))
            return made[-1]

        return decorate

    _returns(function)
    _steps(function, lib)
    _waits(function, lib)
    _errors(function, lib)
    return made


def declare_few(lib: Lib, client: Any) -> list[Any]:
    """Some functions with options, for what shows an app's functions."""
    names = lib.module
    few: list[Any] = []

    @client.create_function(fn_id="plain", trigger=names.TriggerEvent(event="go"))
    async def plain(ctx: Any) -> None: ...

    @client.create_function(
        fn_id="rich",
        name="A rich one",
        trigger=[names.TriggerEvent(event="go", expression="event.data.n > 1"), names.TriggerEvent(event="shop/*")],
        retries=2,
        concurrency=[
            names.Concurrency(limit=2, key="event.data.n"),
            names.Concurrency(limit=9, key="'x'", scope="env"),
        ],
        cancel=[names.Cancel(event="stop", if_exp="event.data.n == async.data.n", timeout=datetime.timedelta(hours=2))],
    )
    def rich(ctx: Any) -> None: ...

    @client.create_function(
        fn_id="flow",
        trigger=names.TriggerCron(cron="TZ=Europe/Paris 0 9 * * 1"),
        throttle=names.Throttle(limit=3, period=datetime.timedelta(minutes=1), burst=2, key="event.data.n"),
        priority=names.Priority(run="event.data.n"),
        timeouts=names.Timeouts(start=datetime.timedelta(minutes=5), finish=datetime.timedelta(hours=36)),
    )
    async def flow(ctx: Any) -> None: ...

    few += [plain, rich, flow, *_declare_admissions(names, client)]
    return few


def _declare_admissions(names: Any, client: Any) -> list[Any]:
    """One function for each setting of what an event may start, with every member that it has."""
    hour, key = datetime.timedelta(hours=1), "event.data.n"
    options: dict[str, dict[str, Any]] = {
        "batched": {"batch_events": names.Batch(max_size=10, timeout=5000, key=key, if_exp="event.data.n > 1")},
        "calmed": {"debounce": names.Debounce(period=datetime.timedelta(seconds=10), key=key, timeout=hour)},
        "calmed-plainly": {"debounce": names.Debounce(period=1000)},
        "limited": {"rate_limit": names.RateLimit(limit=3, period=hour, key=key)},
        "limited-plainly": {"rate_limit": names.RateLimit(limit=1, period=60_000)},
        "single": {"singleton": names.Singleton(mode="cancel", key=key)},
        "single-plainly": {"singleton": names.Singleton(mode="skip")},
        "once": {"idempotency": key, "retries": 0},
        "throttled-plainly": {"throttle": names.Throttle(limit=1, period=1000)},
        "prompt": {"timeouts": names.Timeouts(start=1000), "priority": names.Priority(run="100")},
        "ended": {"cancel": [names.Cancel(event="stop"), names.Cancel(event="halt", timeout=1000)]},
        "shared": {
            "concurrency": [names.Concurrency(limit=1, key="'all'", scope="account"), names.Concurrency(limit=2)]
        },
        "by-the-clock": {
            "trigger": [names.TriggerCron(cron="*/5 * * * *", jitter="30s"), names.TriggerEvent(event="go")]
        },
        "with-failure": {"on_failure": _nothing, "name": "Fails at times"},
    }

    def declared(name: str) -> Any:
        given = {"trigger": names.TriggerEvent(event="go"), **options[name]}
        return client.create_function(fn_id=name, **given)(_nothing)

    return [declared(name) for name in options]


async def _nothing(ctx: Any) -> None: ...


def _returns(function: Any) -> None:
    for name, value in VALUES.items():

        @function(f"returns {name}".replace(" ", "-"))
        async def returns(ctx: Any, value: Any = value) -> Any:
            return value

        @function(f"step {name}".replace(" ", "-"))
        async def step(ctx: Any, value: Any = value) -> Any:
            async def body() -> Any:
                return value

            return [await ctx.step.run("one", body)]

    @function("returns-event")
    async def event(ctx: Any) -> Any:
        return [ctx.event.name, ctx.event.data, ctx.event.id, ctx.event.ts, ctx.run_id, ctx.attempt, len(ctx.events)]

    @function("unserializable")
    async def unserializable(ctx: Any) -> Any:
        return object()


def _steps(function: Any, lib: Lib) -> None:
    async def number(value: int = 1) -> int:
        return value

    @function("sequence")
    async def sequence(ctx: Any) -> Any:
        return [await ctx.step.run(name, number) for name in ("one", "two", "one", "one")]

    @function("with-arguments")
    async def with_arguments(ctx: Any) -> Any:
        return await ctx.step.run("one", number, 5)

    @function("parallel")
    async def parallel(ctx: Any) -> Any:
        found = await ctx.group.parallel(
            tuple(lambda name=name: ctx.step.run(name, number) for name in ("a", "b", "c"))
        )
        return [*found, await ctx.step.run("after", number)]

    @function("parallel-mixed")
    async def mixed(ctx: Any) -> Any:
        return await ctx.group.parallel(
            (
                lambda: ctx.step.run("run", number),
                lambda: ctx.step.wait_for_event("wait", event="other", timeout=1000),
                lambda: ctx.step.sleep_until("nap", UNTIL),
            )
        )

    @function("infers")
    async def infers(ctx: Any) -> Any:
        adapter = openai.Adapter(auth_key="a key", model="a-model")
        found = await ctx.step.ai.infer("ask", adapter=adapter, body={"messages": [{"role": "user", "content": "hi"}]})
        return found["choices"]

    @function("sync")
    def sync(ctx: Any) -> Any:
        first = ctx.step.run("one", lambda: 1)
        return [
            first,
            *ctx.group.parallel((lambda: ctx.step.run("a", lambda: 2), lambda: ctx.step.run("b", lambda: 3))),
        ]


def _waits(function: Any, lib: Lib) -> None:
    @function("sleeps")
    async def sleeps(ctx: Any) -> Any:
        await ctx.step.sleep("nap", datetime.timedelta(seconds=90))
        return "awake"

    @function("sleeps-until")
    async def sleeps_until(ctx: Any) -> Any:
        await ctx.step.sleep_until("nap", UNTIL)
        return "awake"

    @function("waits")
    async def waits(ctx: Any) -> Any:
        found = await ctx.step.wait_for_event(
            "wait", event="other", if_exp="event.data.n == async.data.n", timeout=datetime.timedelta(hours=2)
        )
        return None if found is None else [found.name, found.data]

    @function("waits-plainly")
    async def waits_plainly(ctx: Any) -> Any:
        return await ctx.step.wait_for_event("wait", event="other", timeout=1000) is None

    callee: list[Any] = []

    @function("called", trigger=lib.module.TriggerEvent(event="never"))
    async def called(ctx: Any) -> Any:
        return ctx.event.data

    callee.append(called)

    @function("invokes")
    async def invokes(ctx: Any) -> Any:
        return await ctx.step.invoke("call", function=callee[0], data={"a": 1}, timeout=datetime.timedelta(hours=1))

    @function("invokes-plainly")
    async def invokes_plainly(ctx: Any) -> Any:
        return await ctx.step.invoke("call", function=callee[0])

    @function("invokes-by-id")
    async def invokes_by_id(ctx: Any) -> Any:
        return await ctx.step.invoke_by_id("call", app_id="elsewhere", function_id="it", data={"a": 1})

    @function("sends")
    async def sends(ctx: Any) -> Any:
        return await ctx.step.send_event(
            "send", [lib.module.Event(name="x", data={"a": 1}), lib.module.Event(name="y")]
        )


def _errors(function: Any, lib: Lib) -> None:
    def raising(problem: Any) -> Any:
        async def body() -> None:
            raise problem()

        return body

    class Own(Exception):
        pass

    kinds = {
        "plain": lambda: ValueError("no"),
        "own": lambda: Own("mine"),
        "final": lambda: lib.module.NonRetriableError("never"),
        "later": lambda: lib.module.RetryAfterError("later", UNTIL),
        "empty": RuntimeError,
    }
    for name, problem in kinds.items():

        @function(f"fails-{name}")
        async def fails(ctx: Any, problem: Any = problem) -> None:
            raise problem()

        @function(f"step-fails-{name}")
        async def step_fails(ctx: Any, problem: Any = problem) -> None:
            await ctx.step.run("bad", raising(problem))

    @function("catches")
    async def catches(ctx: Any) -> Any:
        try:
            await ctx.step.run("bad", raising(kinds["plain"]))
        except lib.module.StepError as problem:
            return [problem.name, problem.message]

    @function("fails-caused")
    async def caused(ctx: Any) -> Any:
        try:
            raise KeyError("inner")
        except KeyError as problem:
            raise ValueError("outer") from problem

    @function("sync-fails")
    def sync_fails(ctx: Any) -> Any:
        raise ValueError("no")

    @function("parallel-fails")
    async def parallel_fails(ctx: Any) -> Any:
        steps = tuple(lambda name=name: ctx.step.run(name, raising(kinds["plain"])) for name in ("a", "b"))
        return await ctx.group.parallel(steps)
