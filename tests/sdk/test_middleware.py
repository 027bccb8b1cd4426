"""Middleware of our SDK: what its hooks may change, what lives how long, and what happens when one raises."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from stepwell import (
    Client,
    Event,
    Middleware,
    MiddlewareError,
    MiddlewareSync,
    NonRetriableError,
    RetryAfterError,
    SendEventsError,
    TriggerEvent,
)
from stepwell.sdk.drivers.aio import Executor
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.ids import step_hash
from stepwell.wire.ops import Opcode

EVENT = b'{"name":"go","data":{"n":4},"id":"e","ts":1,"user":{}}'
GO = TriggerEvent("go")


class Calls:
    """Calls the functions of one client."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.executor = Executor(client)

    async def __call__(
        self, fn: str, steps: dict[str, bytes] | None = None, step: str = "step", **fields: Any
    ) -> Answer:
        memos = {step_hash(key, 0): memo for key, memo in (steps or {}).items()}
        request = CallRequest(
            function_id=f"app-{fn}",
            run_id="r1",
            events=[EVENT],
            steps=memos,
            stack=list(memos),
            current=len(memos),
            step_id=step if step == "step" else step_hash(step, 0),
            **fields,
        )
        return await self.executor.execute(request, "the request")


@pytest.fixture
async def calls() -> AsyncIterator[Callable[..., Calls]]:
    made: list[Calls] = []

    def make(*middleware: Any) -> Calls:
        made.append(Calls(Client("app", is_production=False, middleware=middleware)))
        return made[-1]

    yield make
    for each in made:
        await each.executor.close()


def data(answer: Answer) -> Any:
    assert answer.kind is not AnswerKind.ERROR, answer.error
    return msgspec.json.decode(answer.data if answer.kind is AnswerKind.RETURNED else answer.ops[0].data or b"null")


class Both(MiddlewareSync):
    """Changes all that can be changed."""

    def transform_input(self, ctx: Any, function: Any, steps: Any) -> None:
        ctx.event.data["n"] += 1
        ctx.extra = (self.raw_request, function.fn_id, len(steps), [key for key, _ in steps.items()])
        for memo in steps.values():
            memo.data = {"was": memo.data, "error": memo.error}
            memo.error = None

    def transform_output(self, result: Any) -> None:
        if result.has_output() and result.error is None:
            result.output = {"out": result.output}


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_input_and_output_are_what_the_hooks_make_of_them(calls: Any, sync: bool) -> None:
    app = calls(Both)

    def collect(ctx: Any, found: Any) -> Any:
        return [found, ctx.event.data["n"], ctx.extra[:3]]

    if sync:

        @app.client.create_function(fn_id="f", trigger=GO)
        def f(ctx: Any) -> Any:
            return collect(ctx, ctx.step.run("one", abs, -1))
    else:

        @app.client.create_function(fn_id="f", trigger=GO)
        async def g(ctx: Any) -> Any:
            return collect(ctx, await ctx.step.run("one", abs, -1))

    assert data(await app("f")) == {"out": 1}
    for memo in (b'{"data":7}', b"7"):
        app.executor.forget("r1")
        found = data(await app("f", {"one": memo}))
        assert found == {"out": [{"was": 7, "error": None}, 5, ["the request", "f", 1]]}
    app.executor.forget("r1")
    found = data(await app("f", {"one": b'{"error":{"name":"E","message":"m"}}'}))
    assert found["out"][0] == {"was": None, "error": {"name": "E", "message": "m"}}


async def test_each_call_has_its_own_instances_and_a_suspended_function_finds_what_they_put_into_its_context(
    calls: Any,
) -> None:
    made: list[Any] = []

    class Session(Middleware):
        def __init__(self, client: Client, raw_request: object) -> None:
            super().__init__(client, raw_request)
            made.append(self)

        async def transform_input(self, ctx: Any, function: Any, steps: Any) -> None:
            ctx.session = len(made)

    app = calls(Session)
    starts: list[int] = []

    @app.client.create_function(fn_id="f", trigger=GO)
    async def f(ctx: Any) -> Any:
        starts.append(ctx.session)
        await ctx.step.sleep("one", "1s")
        return [ctx.session, ctx.event.data["n"]]

    await app("f")
    assert data(await app("f", {"one": b"null"})) == [2, 4]
    assert len(made) == 2
    assert starts == [1]  # the execution was kept: its code did not run again


async def test_steps_in_parallel_do_not_share_what_a_hook_put_into_the_context(calls: Any) -> None:
    class Session(MiddlewareSync):
        def transform_input(self, ctx: Any, function: Any, steps: Any) -> None:
            ctx.session = self

        def before_response(self) -> None:
            self.closed = True

    app = calls(Session)
    gate = asyncio.Event()

    @app.client.create_function(fn_id="f", trigger=GO)
    async def f(ctx: Any) -> Any:
        async def slow() -> bool:
            session = ctx.session
            await gate.wait()
            return session is ctx.session and not hasattr(session, "closed")

        async def quick() -> None:
            gate.set()

        return await ctx.group.parallel([lambda: ctx.step.run("slow", slow), lambda: ctx.step.run("quick", quick)])

    await app("f")
    slow, _ = await asyncio.gather(
        app("f", step="slow", disable_immediate=True), app("f", step="quick", disable_immediate=True)
    )
    assert data(slow) is True


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_context_variables_set_for_the_input_hold_in_the_function_and_its_steps(calls: Any, sync: bool) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")

    class Sets(Middleware):
        async def transform_input(self, ctx: Any, function: Any, steps: Any) -> None:
            variable.set("set")

    app = calls(Sets)
    if sync:

        @app.client.create_function(fn_id="f", trigger=GO)
        def f(ctx: Any) -> Any:
            return ctx.step.run("one", lambda: [variable.get()])
    else:

        @app.client.create_function(fn_id="f", trigger=GO)
        async def g(ctx: Any) -> Any:
            seen = variable.get()
            return await ctx.step.run("one", lambda: [variable.get(), seen])

    assert set(data(await app("f"))) == {"set"}
    assert variable.get() == "unset"


HOOKS = ("__init__", "transform_input", "before_memoization", "after_memoization", "before_execution", "after_execution",
         "transform_output", "before_response")  # fmt: skip


def failing(hook: str, problem: BaseException, base: type = Middleware) -> type:
    def fails(self: Any, *args: Any) -> None:
        raise problem

    return type("Fails", (base,), {hook: fails})


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize("call", ["first", "second", "end"])
@pytest.mark.parametrize("hook", HOOKS)
async def test_an_exception_in_a_hook_is_an_error_of_the_function_that_is_tried_again(
    calls: Any, hook: str, call: str, sync: bool
) -> None:
    app = calls(failing(hook, KeyError("gone")))
    if sync:

        @app.client.create_function(fn_id="f", trigger=GO)
        def f(ctx: Any) -> Any:
            for name in ("one", "two"):
                with suppress(Exception):
                    ctx.step.run(name, int)
    else:

        @app.client.create_function(fn_id="f", trigger=GO)
        async def g(ctx: Any) -> Any:
            for name in ("one", "two"):
                with suppress(Exception):
                    await ctx.step.run(name, int)

    steps = dict.fromkeys({"first": [], "second": ["one"], "end": ["one", "two"]}[call], b'{"data":0}')
    answer = await app("f", steps)
    where = "its constructor" if hook == "__init__" else hook
    assert answer.kind is AnswerKind.ERROR
    assert answer.no_retry is False
    assert answer.error is not None
    assert answer.error.name == "MiddlewareError"
    assert answer.error.message == f"the middleware Fails failed in {where}: KeyError: 'gone'"
    assert "test_middleware.py" in (answer.error.stack or "")


@pytest.mark.parametrize(
    ("problem", "no_retry", "after"),
    [(NonRetriableError("never"), True, None), (RetryAfterError("later", timedelta(seconds=9)), False, "9")],
)
async def test_what_a_hook_says_about_trying_again_holds(
    calls: Any, problem: Exception, no_retry: bool, after: str | None
) -> None:
    app = calls(failing("before_execution", problem))

    @app.client.create_function(fn_id="f", trigger=GO)
    async def f(ctx: Any) -> None: ...

    answer = await app("f")
    assert (answer.error.name, answer.no_retry, answer.retry_after) == (type(problem).__name__, no_retry, after)


async def test_an_error_may_be_replaced_and_cured_and_an_output_refused(calls: Any) -> None:
    class Judge(MiddlewareSync):
        def transform_output(self, result: Any) -> None:
            match str(result.error) if result.error else result.output:
                case "replace":
                    result.error = NonRetriableError("replaced")
                case "cure":
                    result.error, result.output = None, "cured"
                case "refuse":
                    result.error = ValueError("refused")

    app = calls(Judge)

    @app.client.create_function(fn_id="f", trigger=GO)
    async def f(ctx: Any) -> Any:
        text = ctx.event.data.get("say", "replace")
        if ctx.attempt == 0:
            raise RuntimeError(text)
        if ctx.attempt == 1:
            raise RuntimeError("cure")
        return "refuse"

    first, second, third = [await app("f", attempt=attempt) for attempt in range(3)]
    assert (first.error.name, first.no_retry) == ("NonRetriableError", True)
    assert data(second) == "cured"
    assert (third.error.name, third.no_retry) == ("ValueError", False)

    @app.client.create_function(fn_id="steps", trigger=GO)
    async def steps(ctx: Any) -> Any:
        def body(text: str) -> Any:
            if text == "refuse":
                return text
            raise RuntimeError(text)

        return await ctx.step.run("one", body, ("replace", "cure", "refuse")[ctx.attempt])

    app.executor.always_replay = True
    first, second, third = [await app("steps", attempt=attempt) for attempt in range(3)]
    assert (first.ops[0].op, first.no_retry) == (Opcode.STEP_ERROR, True)
    assert (second.ops[0].op, data(second)) == (Opcode.STEP_RUN, "cured")
    assert third.ops[0].op == Opcode.STEP_ERROR
    assert b"refused" in bytes(third.ops[0].error)


async def test_payloads_of_functions_invoked_in_parallel_can_be_changed(calls: Any) -> None:
    class Marks(MiddlewareSync):
        def transform_output(self, result: Any) -> None:
            assert result.step.op is Opcode.INVOKE
            result.step.opts["payload"]["data"]["marked"] = result.step.id

    app = calls(Marks)

    @app.client.create_function(fn_id="f", trigger=GO)
    async def f(ctx: Any) -> Any:
        return await ctx.group.parallel(
            [
                lambda: ctx.step.invoke_by_id("a", function_id="x", data={"k": 1}),
                lambda: ctx.step.invoke_by_id("b", function_id="x"),
                lambda: ctx.step.sleep("nap", "1s"),
            ]
        )

    answer = await app("f")
    found = [msgspec.json.decode(op.opts) for op in answer.ops]
    assert [opts.get("payload") for opts in found] == [
        {"data": {"k": 1, "marked": "a"}},
        {"data": {"marked": "b"}},
        None,
    ]


class Sends(Middleware):
    async def before_send_events(self, events: list[Event]) -> None:
        for event in events:
            event.data["by"] = self.raw_request
        events.append(Event(name="more"))

    async def after_send_events(self, result: Any) -> None:
        seen.append(result)


seen: list[Any] = []


def takes(sent: list[Any], ids: list[str] | None) -> Any:
    async def override(body: bytes) -> list[str]:
        sent.extend(msgspec.json.decode(body))
        if ids is None:
            raise SendEventsError("no", ["kept"])
        return ids

    return override


async def test_events_pass_the_hooks_with_the_instances_of_the_run_that_sends_them(calls: Any) -> None:
    app, sent = calls(Sends), []
    seen.clear()
    app.client._send_override = takes(sent, ["1", "2"])

    @app.client.create_function(fn_id="f", trigger=GO)
    async def f(ctx: Any) -> Any:
        return await ctx.step.send_event("s", Event(name="x"))

    @app.client.create_function(fn_id="g", trigger=GO)
    def g(ctx: Any) -> Any:
        return ctx.step.send_event("s", [Event(name="y")])

    assert data(await app("f")) == ["1", "2"]
    app.executor.forget("r1")
    assert data(await app("g")) == ["1", "2"]
    assert await app.client.send({"name": "z", "data": {}}) == ["1", "2"]
    assert [(each["name"], each.get("data", {}).get("by")) for each in sent] == [
        ("x", "the request"),
        ("more", None),
        ("y", "the request"),
        ("more", None),
        ("z", None),
        ("more", None),
    ]
    assert [(each.ids, each.error) for each in seen] == [(["1", "2"], None)] * 3


async def test_what_goes_wrong_with_a_send_is_shown_to_the_hooks_and_raised(calls: Any) -> None:
    app = calls(Sends)
    seen.clear()
    app.client._send_override = takes([], None)
    with pytest.raises(SendEventsError, match="no"):
        await app.client.send(Event(name="x"))
    assert [(each.ids, each.error) for each in seen] == [(["kept"], "no")]
    with pytest.raises(SendEventsError, match="is an object, a dict or a model, and not 3"):
        await app.client.send([{"name": "x", "data": 3}])


async def test_a_hook_that_fails_in_a_send_is_named(calls: Any) -> None:
    app = calls(failing("before_send_events", KeyError("k")))
    with pytest.raises(MiddlewareError, match="the middleware Fails failed in before_send_events: KeyError: 'k'"):
        await app.client.send(Event(name="x"))

    @app.client.create_function(fn_id="f", trigger=GO)
    async def f(ctx: Any) -> Any:
        return await ctx.step.send_event("s", Event(name="x"))

    answer = await app("f")
    assert (answer.kind, answer.error.name) == (AnswerKind.ERROR, "MiddlewareError")


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_hooks_have_plain_data_and_the_function_what_its_trigger_declares(calls: Any, sync: bool) -> None:
    class Order(msgspec.Struct):
        number: int

    class Renames(MiddlewareSync):
        def transform_input(self, ctx: Any, function: Any, steps: Any) -> None:
            ctx.event.data = {"number": ctx.event.data[key]}

    app, key = calls(Renames), "n"
    go = TriggerEvent("go", schema=Order)
    if sync:

        @app.client.create_function(fn_id="f", trigger=go)
        def f(ctx: Any) -> Any:
            return [type(ctx.event.data).__name__, ctx.event.data.number]
    else:

        @app.client.create_function(fn_id="f", trigger=go)
        async def g(ctx: Any) -> Any:
            return [type(ctx.event.data).__name__, ctx.event.data.number]

    assert data(await app("f")) == ["Order", 4]
    Renames.transform_input = lambda *_: None  # type: ignore[method-assign]
    answer = await app("f")
    assert (answer.error.name, answer.no_retry) == ("EventDataError", True)


async def test_what_is_no_middleware_is_refused_in_words(calls: Any) -> None:
    app = calls(lambda client, raw: "text")

    @app.client.create_function(fn_id="f", trigger=GO)
    async def f(ctx: Any) -> None: ...

    answer = await app("f")
    assert "it made a str, which is neither a Middleware nor a MiddlewareSync" in answer.error.message


async def test_the_order_of_all_hooks(calls: Any) -> None:
    log: list[str] = []

    def hook(name: str) -> Any:
        async def run(self: Any, *args: Any) -> None:
            log.append(name)

        return run

    app = calls(type("All", (Middleware,), {name: hook(name) for name in HOOKS[1:]}))

    @app.client.create_function(fn_id="f", trigger=GO)
    async def f(ctx: Any) -> Any:
        log.append("start")
        await ctx.step.sleep("nap", "1s")
        log.append("end")

    await app("f", {"nap": b"null"})
    assert log == ["transform_input", "before_memoization", "start", "after_memoization", "before_execution", "end",
                   "after_execution", "transform_output", "before_response"]  # fmt: skip
