"""The hooks of middleware: the official SDK and ours call the same ones, in the same order, with the same values."""

from typing import Any

import pytest

from tests.conformance.golden.libs import OFFICIAL, OURS, Lib, body, call_url, connect

Log = list[tuple[Any, ...]]


def recorder(base: type, tag: str, log: Log) -> type:
    """Middleware that logs what it is called with, in words that hold for both SDKs."""

    def output(result: Any) -> tuple[Any, ...]:
        value = result.output if result.has_output() else "none"
        error = None if result.error is None else (type(result.error).__name__, str(result.error))
        step = None if result.step is None else (result.step.id, str(getattr(result.step.op, "value", result.step.op)))
        return value, error, step

    class Sync(base):  # type: ignore[misc]
        def transform_input(self, ctx: Any, function: Any, steps: Any) -> None:
            memos = [memo.data for memo in steps.values()]
            log.append((tag, "transform_input", function.id, ctx.run_id, ctx.attempt, memos))

        def before_execution(self) -> None:
            log.append((tag, "before_execution"))

        def after_execution(self) -> None:
            log.append((tag, "after_execution"))

        def transform_output(self, result: Any) -> None:
            log.append((tag, "transform_output", *output(result)))

        def before_response(self) -> None:
            log.append((tag, "before_response"))

    if base.__name__ == "MiddlewareSync":
        return Sync

    def later(name: str) -> Any:
        async def hook(self: Any, *args: Any) -> None:
            getattr(Sync, name)(self, *args)

        return hook

    names = [name for name in vars(Sync) if not name.startswith("_")]
    return type("Async", (base,), {name: later(name) for name in names})


def functions(log: Log) -> Any:
    def declare(lib: Lib, client: Any) -> list[Any]:
        trigger = lib.module.TriggerEvent(event="go")
        own = recorder(lib.module.MiddlewareSync, "own", log)

        @client.create_function(fn_id="two", trigger=trigger, middleware=[own])
        async def two(ctx: Any) -> Any:
            log.append(("start",))

            async def one() -> Any:
                log.append(("in the step",))
                return {"x": 1}

            await ctx.step.run("one", one)
            log.append(("between",))
            await ctx.step.wait_for_event("wait", event="other", timeout=1000)
            log.append(("end",))
            return "done"

        @client.create_function(fn_id="fails", trigger=trigger)
        async def fails(ctx: Any) -> Any:
            raise ValueError("no")

        @client.create_function(fn_id="bad-step", trigger=trigger)
        async def bad_step(ctx: Any) -> Any:
            async def bad() -> Any:
                raise ValueError("no")

            return await ctx.step.run("bad", bad)

        @client.create_function(fn_id="parallel", trigger=trigger)
        async def parallel(ctx: Any) -> Any:
            async def number() -> int:
                log.append(("in the step",))
                return 1

            steps = tuple(lambda name=name: ctx.step.run(name, number) for name in ("p1", "p2"))
            return list(await ctx.group.parallel(steps))

        return [two, fails, bad_step, parallel]

    return declare


def sync_functions(log: Log) -> Any:
    def declare(lib: Lib, client: Any) -> list[Any]:
        trigger = lib.module.TriggerEvent(event="go")

        @client.create_function(fn_id="two", trigger=trigger)
        def two(ctx: Any) -> Any:
            log.append(("start",))
            ctx.step.run("one", lambda: {"x": 1})
            log.append(("between",))
            ctx.step.wait_for_event("wait", event="other", timeout=1000)
            log.append(("end",))
            return "done"

        @client.create_function(fn_id="fails", trigger=trigger)
        def fails(ctx: Any) -> Any:
            raise ValueError("no")

        @client.create_function(fn_id="bad-step", trigger=trigger)
        def bad_step(ctx: Any) -> Any:
            def bad() -> Any:
                raise ValueError("no")

            return ctx.step.run("bad", bad)

        @client.create_function(fn_id="parallel", trigger=trigger)
        def parallel(ctx: Any) -> Any:
            def number() -> int:
                log.append(("in the step",))
                return 1

            steps = tuple(lambda name=name: ctx.step.run(name, number) for name in ("p1", "p2"))
            return list(ctx.group.parallel(steps))

        return [two, fails, bad_step, parallel]

    return declare


ONE = {"one": {"data": {"x": 1}}}
CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "the first step": ("two", "step", body()),
    "a second attempt": ("two", "step", body(attempt=1)),
    "the step after it": ("two", "step", body(ONE)),
    "the end": ("two", "step", body({**ONE, "wait": None})),
    "a function's error": ("fails", "step", body()),
    "a step's error": ("bad-step", "step", body()),
    "a step's last error": ("bad-step", "step", body(attempt=4)),
    "the error of a step that has failed": (
        "bad-step",
        "step",
        body({"bad": {"error": {"name": "E", "message": "m"}}}),
    ),
    "steps in parallel": ("parallel", "step", body()),
    "one of them": ("parallel", "p2", body(disable_immediate_execution=True)),
    "the one that is left": ("parallel", "step", body({"p1": {"data": 1}}, disable_immediate_execution=True)),
    "after all of them": ("parallel", "step", body({"p1": {"data": 1}, "p2": {"data": 2}})),
}


async def play(lib: Lib, kind: str, declared: Any, function: str, step: str, call: dict[str, Any]) -> Log:
    log: Log = []
    base = getattr(lib.module, kind)
    made = lib.app(declared(log), middleware=[recorder(base, "first", log), recorder(base, "second", log)])
    async with connect(made) as client:
        await client.post(call_url(function, step), json=call)
    return log


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("kind", "declared"),
    [("Middleware", functions), ("MiddlewareSync", functions), ("MiddlewareSync", sync_functions)],
    ids=["async", "plain hooks", "sync"],
)
async def test_the_same_hooks_in_the_same_order_as_the_official_sdk(kind: str, declared: Any, name: str) -> None:
    official = await play(OFFICIAL, kind, declared, *CALLS[name])
    assert official
    assert await play(OURS, kind, declared, *CALLS[name]) == official
