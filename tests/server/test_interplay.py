"""Settings of functions that meet each other, and the platform's own events; on an engine whose clock the test sets."""

import msgspec
import pytest

from stepwell.core.model import Run, RunStatus
from stepwell.server.store.base import EventQuery, RunQuery
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.functions import parse_registration
from stepwell.wire.ops import Op
from tests.server.test_flow_control import function, n, ns, returned, running, seen

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def op(code: str, step_id: str, name: str | None = None, **opts: object) -> Answer:
    made = Op(op=code, id=step_id, name=name, opts=msgspec.Raw(msgspec.json.encode(opts)))
    return Answer(kind=AnswerKind.OPS, ops=[made], req_version=2)


def failed(_: CallRequest) -> Answer:
    """No function works."""
    cause = msgspec.Raw(b'{"name":"Cause","message":"why"}')
    return Answer(kind=AnswerKind.ERROR, error=ErrorInfo(name="E", message="boom", cause=cause), no_retry=True)


def on(fn_id: str, **trigger: str) -> dict[str, object]:
    return {**function(fn_id, None), "triggers": [trigger]}


def shown(runs: list[Run]) -> list[tuple[str, str]]:
    return [(run.function_id.removeprefix("a-"), run.status.value) for run in runs]


async def test_a_throttled_run_whose_app_is_away_has_not_used_its_place() -> None:
    """Else it would wait a day more for having been looked at while the app was restarted."""
    away = True

    def app(request: CallRequest) -> Answer:
        gone = Answer(kind=AnswerKind.ERROR, error=ErrorInfo(name="Gone", message="gone"), gone=True, transport=True)
        return gone if away else seen(request)

    async with running(app, function("a-f", "x", throttle={"limit": 1, "period": "24h"})) as rig:
        await rig.send(n(1), n(2))
        await rig.pass_time(2_000)
        away = False
        await rig.pass_time(2_000)
        assert ns(await rig.outputs()) == [[1]], "one of them, and in their order"
        await rig.pass_time(DAY)
        assert ns(await rig.outputs()) == [[1], [2]]


async def test_the_timer_of_a_cron_wakes_waits_and_ends_runs() -> None:
    def app(request: CallRequest) -> Answer:
        if request.function_id == "a-e":
            return op("Sleep", "s", "1h")
        if request.function_id != "a-w":
            return returned("cron")
        if request.current == 0:
            return op(
                "WaitForEvent", "w", "inngest/scheduled.timer", timeout="1d", **{"if": "async.data.cron == '* * * * *'"}
            )
        return returned(msgspec.json.decode(request.steps["w"])["data"])

    crons = [on("a-c", cron="* * * * *"), on("a-d", cron="*/5 * * * *")]
    ended = {**function("a-e", "x"), "cancel": [{"event": "inngest/scheduled.timer"}]}
    async with running(app, function("a-w", "x"), ended, *crons) as rig:
        await rig.send(n(1))
        await rig.settle()
        rig.clock.time += MINUTE
        rig.engine.crons.refresh()
        await rig.pass_time(0)
        [waited] = [run for run in await rig.runs("completed") if run.function_id == "a-w"]
        assert msgspec.json.decode(waited.output or b"")["cron"] == "* * * * *"
        assert ("e", "cancelled") in shown(await rig.runs())


async def test_expressions_know_the_time_in_triggers_batches_and_priorities() -> None:
    late = "timestamp(event.data.due) < now_plus('1h')"
    batch = {"maxSize": 2, "timeout": "1h", "if": late}
    soon = {"data": {"n": 1, "due": "2023-11-14T22:30:00Z"}}
    far = {"data": {"n": 2, "due": "2024-11-14T22:30:00Z"}}
    urgent = function("a-p", "x", priority={"run": f"{late} ? 100 : 0"}, concurrency={"limit": 1, "key": "'k'"})
    async with running(
        seen, on("a-t", event="x", expression=late), function("a-b", "x", batchEvents=batch), urgent
    ) as rig:
        rig.caller.open.clear()
        await rig.send(far, far, soon)
        await rig.settle()
        rig.caller.open.set()
        await rig.settle()
        called = [(call.function_id, msgspec.json.decode(call.events[0])["data"]["n"]) for call in rig.caller.calls]
        assert [each for fn, each in called if fn == "a-t"] == [1]
        assert [each for fn, each in called if fn == "a-b"] == [2, 2], "the other waits for more"
        assert [each for fn, each in called if fn == "a-p"] == [1, 2, 2]


async def test_a_failure_is_told_as_the_protocol_says_and_a_failing_handler_tells_nobody() -> None:
    handler = on("a-f-failure", event="inngest/function.failed", expression="event.data.function_id == 'a-f'")
    everyone = function("a-all", "inngest/function.failed")
    ends = function("a-ends", "inngest/function.finished")
    async with running(failed, function("a-f", "x"), handler, everyone, ends) as rig:
        await rig.send(n(1))
        await rig.settle()
        assert sorted(shown(await rig.runs())) == [(name, "failed") for name in ("all", "ends", "f", "f-failure")]
        [event] = await rig.engine.list_events(EventQuery(name="inngest/function.failed"))
        [run] = [run for run in await rig.runs() if run.function_id == "a-f"]
        data = msgspec.json.decode(event.body)["data"]
        cause = {"name": "Cause", "message": "why"}
        assert event.event_id == run.run_id
        assert data["error"] == {"error": "boom", "name": "E", "message": "boom", "cause": cause}
        assert data["result"] == {"name": "E", "message": "boom", "cause": cause}
        assert (data["function_id"], data["run_id"], data["_inngest"]) == ("a-f", run.run_id, {"status": "Failed"})
        assert (data["event"]["data"], len(data["events"])) == ({"n": 1}, 1)


async def test_a_cancelling_event_does_not_reach_a_run_that_is_debounced_until_it_has_begun() -> None:
    config = {"debounce": {"period": "5s"}, "cancel": [{"event": "stop"}]}
    async with running(lambda _: op("Sleep", "s", "1h"), function("a-f", "x", **config)) as rig:
        await rig.send(n(1))
        await rig.send({"name": "stop"})
        await rig.pass_time(5_000)
        assert shown(await rig.runs()) == [("f", "running")]
        await rig.send({"name": "stop"})
        await rig.settle()
        assert shown(await rig.runs()) == [("f", "cancelled")]


async def test_batches_are_throttled_as_wholes() -> None:
    config = {"batchEvents": {"maxSize": 2, "timeout": "10s"}, "throttle": {"limit": 1, "period": "1m"}}
    async with running(seen, function("a-f", "x", **config)) as rig:
        await rig.send(*(n(i) for i in range(4)))
        await rig.settle()
        assert ns(await rig.outputs()) == [[0, 1]]
        await rig.pass_time(MINUTE)
        assert ns(await rig.outputs()) == [[0, 1], [2, 3]]


async def test_parked_runs_go_on_by_their_priority() -> None:
    config = {"priority": {"run": "event.data.n"}, "concurrency": {"limit": 1}}
    async with running(seen, function("a-f", "x", **config)) as rig:
        rig.caller.open.clear()
        await rig.send(n(0))
        await rig.settle()
        await rig.send(n(1), n(100), n(50))
        await rig.settle()
        rig.caller.open.set()
        await rig.settle()
        assert [msgspec.json.decode(call.events[0])["data"]["n"] for call in rig.caller.calls] == [0, 100, 50, 1]


async def test_a_singleton_is_cancelled_while_its_app_is_being_called() -> None:
    async with running(seen, function("a-f", "x", singleton={"mode": "cancel"})) as rig:
        rig.caller.open.clear()
        await rig.send(n(1))
        await rig.settle()
        await rig.send(n(2))
        await rig.settle()
        rig.caller.open.set()
        await rig.settle()
        assert shown(await rig.runs()) == [("f", "cancelled"), ("f", "completed")]
        await rig.send(n(3))
        await rig.settle()
        assert (await rig.runs())[-1].status is RunStatus.COMPLETED


@pytest.mark.parametrize("begun", [False, True])
async def test_the_same_event_id_joins_no_batch_twice_nor_starts_one_after_it(begun: bool) -> None:
    async with running(seen, function("a-f", "x", batchEvents={"maxSize": 2, "timeout": "10s"})) as rig:
        await rig.send(n(1, id="same"))
        if begun:
            await rig.pass_time(10_000)
        await rig.send(n(2, id="same"))
        await rig.pass_time(10_000)
        assert ns(await rig.outputs()) == [[1]]
        assert len(await rig.runs()) == 1


async def test_a_run_under_way_goes_on_at_its_apps_new_place() -> None:
    def app(request: CallRequest) -> Answer:
        return returned(request.url) if request.current else op("Sleep", "s", "10s")

    async with running(app, function("a-f", "x")) as rig:
        await rig.send(n(1))
        await rig.settle()
        body = {"url": "http://new/api", "appName": "a", "sdk": "js:v1", "functions": [function("a-g", "y")]}
        await rig.engine.register(parse_registration(msgspec.json.encode(body)))
        await rig.pass_time(10_000)
        assert await rig.outputs() == ["http://new/api"], (
            "also where its function is gone: the app says what that means"
        )


async def test_who_is_told_of_an_invoked_function_that_finished() -> None:
    def app(request: CallRequest) -> Answer:
        if request.function_id == "a-p" and not request.current:
            return op("InvokeFunction", "i", function_id="a-c", payload={"data": {}})
        return returned(request.run_id)

    async with running(
        app, function("a-p", "x"), function("a-c", None), function("a-l", "inngest/function.finished")
    ) as rig:
        await rig.send(n(1))
        await rig.settle()
        bodies = [msgspec.json.decode(event.body) for event in await rig.engine.list_events(EventQuery(limit=50))]
        told = {each["data"]["function_id"]: each["data"] for each in bodies if each["name"].endswith(".finished")}
        parent = told["a-p"]["run_id"]
        assert told["a-c"]["correlation_id"] == f"{parent}.i"
        assert told["a-c"]["result"] == told["a-c"]["run_id"]
        assert "correlation_id" not in told["a-p"]
        assert shown(await rig.runs()).count(("l", "completed")) == 2


@pytest.mark.parametrize(
    "listens", [{"expression": "event.data.function_id == 'a-f'"}, {"expression": "event.data.n == 1"}]
)
async def test_a_result_that_is_nested_as_deeply_as_can_be_hangs_no_run(listens: dict[str, str]) -> None:
    """In the event that tells of it, it is nested a little more."""

    def app(request: CallRequest) -> Answer:
        depth = msgspec.json.decode(request.events[0])["data"].get("depth", 0)
        return Answer(kind=AnswerKind.RETURNED, data=b"[" * depth + b"]" * depth)

    async with running(app, function("a-f", "x"), on("a-l", event="inngest/function.finished", **listens)) as rig:
        await rig.send(*({"data": {"depth": depth}} for depth in range(900, 1_000)))
        await rig.settle()
        found = await rig.engine.runs(RunQuery(function_id="a-f", limit=200))
        assert {run.status for run in found} == {RunStatus.COMPLETED}
        assert len(found) == 100


async def test_a_run_ends_even_where_nothing_can_follow_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_: object) -> object:
        raise ZeroDivisionError

    async with running(seen, function("a-f", "x")) as rig:
        monkeypatch.setattr(rig.engine._actors, "_consequences", defect)  # pyright: ignore[reportPrivateUsage]
        await rig.send(n(1))
        await rig.settle()
        [run] = await rig.runs()
        assert (run.status, b"please report it" in (run.output or b"")) == (RunStatus.FAILED, True)
