"""No run may ever hang. Whatever comes, valid or not, and in whatever order: a run is finished, has work that is queued or
under way, or waits for something that has a time. And once apps and upstreams do their work, every run ends.
"""

import os
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stepwell.core.model import Cancellation, RunStatus
from stepwell.wire.calls import Answer, AnswerKind
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.fetch import FetchBroken, FetchResponse
from tests.simulation.world import World, fine, op, returned, well

LONG = os.environ.get("CI") == "true"
NAMES = ("go", "stop", "other")
STEPS = ("a", "b", "c", "d")
YEAR_MS = 366 * 24 * 3600 * 1000

small = st.integers(0, 2)
conditions = st.sampled_from([None, "async.data.n == event.data.n", "async.data.n > 0", "false", "async.data."])
conflicts = st.sampled_from(["fail", "replace"])
durations = st.sampled_from(["1s", "1m", "1h", "", "soon", "400d", "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"])


@st.composite
def function_configs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Two functions, with some of the settings that hold runs back or end them."""
    found: list[dict[str, Any]] = []
    for number in range(2):
        chosen = draw(st.lists(st.sampled_from(sorted(OPTIONS)), unique=True, max_size=2))
        config: dict[str, Any] = {"id": f"a-f{number}", "triggers": [{"event": NAMES[number]}]}
        found.append(config | {name: OPTIONS[name] for name in chosen})
        if draw(st.integers(0, 3)) == 0:
            found[-1] = {"id": f"a-f{number}", "triggers": found[-1]["triggers"], **draw(st.sampled_from(SPECIAL))}
    return found


SPECIAL: list[dict[str, Any]] = [
    {"batchEvents": {"maxSize": 2, "timeout": "10s", "key": "event.data.n", "if": "event.data.n > 0"}},
    {"singleton": {"mode": "skip"}},
    {"concurrency": {"fn": [{"limit": 1}]}},
]

OPTIONS: dict[str, Any] = {
    "concurrency": {"limit": 1, "key": "event.data.n"},
    "throttle": {"limit": 1, "period": "10s"},
    "rateLimit": {"limit": 1, "period": "1m", "key": "event.data.n"},
    "idempotency": "event.data.n",
    "debounce": {"period": "5s", "key": "event.data.n", "timeout": "20s"},
    "singleton": {"mode": "cancel", "key": "event.data.n"},
    "priority": {"run": "event.data.n"},
    "timeouts": {"start": "30s", "finish": "2h"},
    "cancel": [{"event": "stop", "if": "async.data.n == event.data.n"}],
}


@st.composite
def ops(draw: st.DrawFn) -> Any:
    """One op of an answer; some make no sense."""
    name = draw(st.sampled_from(STEPS))
    race = {"parallelMode": "race"} if draw(st.booleans()) else {}
    timeout = draw(durations)
    match draw(st.integers(0, 12)):
        case 0:
            return op("StepRun", name, {"n": 1})
        case 1:
            return op("StepError", name, error={"name": "E", "message": "m"})
        case 2:
            return op("StepFailed", name, error={"name": "E", "message": "m"})
        case 3 | 4:
            return op("StepPlanned", name, opts=race)
        case 5:
            return op("Sleep", name, name=timeout, opts=race)
        case 6:
            asked = {"if": draw(conditions), "timeout": timeout, **race}
            return op("WaitForEvent", name, name=draw(st.sampled_from(NAMES)), opts=asked)
        case 7:
            target = draw(st.sampled_from(["a-f0", "a-f1", "a-none", ""]))
            return op("InvokeFunction", name, opts={"function_id": target, "payload": {"data": {"n": 1}}, **race})
        case 8 | 9:
            url = draw(st.sampled_from(["http://up/x", "ftp://x", ""]))
            return op("Gateway", name, opts={"url": url, "method": "GET", "headers": {}, **race})
        case 10:
            return op(draw(st.sampled_from(["None", "DiscoveryRequest", "RunComplete", "Teleport", "DeferAdd"])), name)
        case 11:
            return op("WaitForSignal", name, opts={"signal": "s", "timeout": timeout, "conflict": draw(conflicts)})
        case _:
            return op("AIGateway", name, opts={"url": "http://up/ai", "format": "openai-chat", "body": {}, **race})


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """What an app may say, sense or not."""
    match draw(st.integers(0, 5)):
        case 0:
            return returned(draw(small))
        case 1:
            error = ErrorInfo(name="E", message="m")
            no_retry = draw(st.sampled_from([None, True, False]))
            after = draw(st.sampled_from([None, "5", "soon", "2999-01-01T00:00:00Z"]))
            return Answer(kind=AnswerKind.ERROR, error=error, no_retry=no_retry, retry_after=after)
        case 2:
            gone = ErrorInfo(name="Gone", message="the app has gone away")
            return Answer(kind=AnswerKind.ERROR, error=gone, gone=True, transport=True)
        case _:
            version = draw(st.sampled_from([1, 2, 2, 2]))
            return Answer(kind=AnswerKind.OPS, ops=draw(st.lists(ops(), max_size=4)), req_version=version)


outcomes = st.one_of(
    st.sampled_from([200, 204, 429, 500, 404]).map(lambda status: FetchResponse(status=status, url="http://up/x")),
    st.sampled_from([True, False]).map(lambda final: FetchBroken(kind="read", message="broken", final=final)),
)


class NoRunHangs(RuleBasedStateMachine):
    """Everything that can happen to an engine, in any order."""

    world: World

    @initialize(functions=function_configs())
    def begin(self, functions: list[dict[str, Any]]) -> None:
        self.world = World(functions)

    @rule(name=st.sampled_from(NAMES), n=small, event_id=st.sampled_from([None, "same"]), later=st.booleans())
    def an_event_comes(self, name: str, n: int, event_id: str | None, later: bool) -> None:
        event: dict[str, Any] = {"name": name, "data": {"n": n}}
        if event_id:
            event["id"] = event_id
        if later:
            event["ts"] = self.world.clock.now() + 5_000
        self.world.send(event)

    @precondition(lambda self: self.world.apps.flying)
    @rule(number=st.integers(0, 50), answer=answers())
    def an_app_answers(self, number: int, answer: Answer) -> None:
        self.world.apps.flying.end(number, answer)
        self.world.settle()

    @precondition(lambda self: self.world.apps.flying)
    @rule(number=st.integers(0, 50))
    def an_app_does_its_work(self, number: int) -> None:
        flying = self.world.apps.flying
        flying.end(number, well(flying[number % len(flying)][0]))
        self.world.settle()

    @precondition(lambda self: self.world.upstreams.flying)
    @rule(number=st.integers(0, 50), outcome=outcomes)
    def an_upstream_answers(self, number: int, outcome: Any) -> None:
        self.world.upstreams.flying.end(number, outcome)
        self.world.settle()

    @rule(by=st.sampled_from([1, 1_000, 60_000, 3_600_000, 86_400_000]))
    def time_passes(self, by: int) -> None:
        self.world.advance(by)

    @precondition(lambda self: self.world.runs())
    @rule(number=st.integers(0, 50), found=st.lists(ops(), max_size=3), generation=st.sampled_from([0, 0, 1, 99]))
    def an_app_checkpoints(self, number: int, found: list[Any], generation: int) -> None:
        run = self._run(number)
        kept = [one for one in found if one.op in {"StepRun", "StepPlanned"}]
        self.world.tell(self.world.engine.checkpoint(run, kept, generation))

    @rule(name=st.sampled_from(["s", "t"]))
    def a_signal_comes(self, name: str) -> None:
        self.world.tell(self.world.engine.signal(name, b"1"))

    @precondition(lambda self: self.world.runs())
    @rule(number=st.integers(0, 50), what=st.sampled_from(["cancel", "poke"]))
    def somebody_says_something(self, number: int, what: str) -> None:
        run = self._run(number)
        self.world.tell(self.world.engine.cancel(run) if what == "cancel" else self.world.engine.poke(run))

    @rule(n=st.none() | small, ahead=st.sampled_from([-60_000, 0, 5_000]))
    def many_are_cancelled(self, n: int | None, ahead: int) -> None:
        now = self.world.clock.now()
        asked = Cancellation(
            cancellation_id=self.world.engine.new_id(),
            created_at=now,
            app_id="a",
            function_id="a-f0",
            started_before=now + ahead,
            condition=None if n is None else f"event.data.n == {n}",
        )
        self.world.tell(self.world.engine.cancelling.add(asked))

    @rule(function=st.sampled_from(["a-f0", "a-f1"]), cancel=st.none() | st.booleans())
    def a_function_is_paused_or_resumed(self, function: str, cancel: bool | None) -> None:
        pausing = self.world.engine.pausing
        asked = pausing.resume(function) if cancel is None else pausing.pause(function, cancel_running=cancel)
        self.world.tell(asked)
        assert pausing.paused(function) == (cancel is not None)

    @rule(how=st.sampled_from(["kill", "stop"]))
    def the_platform_ends_and_begins(self, how: str) -> None:
        self.world.kill() if how == "kill" else self.world.stop()

    def _run(self, number: int) -> str:
        runs = self.world.runs()
        return runs[number % len(runs)].run_id

    @invariant()
    def no_run_hangs(self) -> None:
        if not hasattr(self, "world"):
            return
        for run in self.world.runs():
            items = self.world.items(run.run_id)
            if run.status.ended:
                assert items == [], f"run {run.run_id} has ended and has work"
            else:
                assert items, f"run {run.run_id} has nothing that could ever end it"
                latest = max(item.due_at for item in items)
                assert latest <= self.world.clock.now() + 2 * YEAR_MS

    @invariant()
    def a_paused_function_begins_no_run(self) -> None:
        """Whoever asks for one: an event, a step that invokes it, a run that has ended, a process that starts again."""
        if hasattr(self, "world"):
            seen = getattr(self, "seen", set[str]())
            self.seen = {run.run_id for run in self.world.runs()}
            new = [run for run in self.world.runs() if run.run_id not in seen]
            begun = [run for run in new if run.status is not RunStatus.SKIPPED]
            assert [run for run in begun if self.world.engine.pausing.paused(run.function_id)] == []

    @invariant()
    def what_was_skipped_says_why(self) -> None:
        if hasattr(self, "world"):
            skipped = [run for run in self.world.runs() if run.status is RunStatus.SKIPPED]
            assert {run.skipped for run in skipped} <= {"paused", "singleton"}

    @invariant()
    def nothing_waits_for_a_run_that_has_ended(self) -> None:
        if hasattr(self, "world"):
            ended = {run.run_id for run in self.world.runs() if run.status.ended}
            assert not [where for where in self.world.waits() if where[0] in ended]

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self._all_runs_end()
        finally:
            self.world.end()

    def _all_runs_end(self) -> None:
        """Faults stop: apps and upstreams do their work, and time goes on."""
        world = self.world
        for _ in range(2_000):
            while world.apps.flying or world.upstreams.flying:
                if world.apps.flying:
                    world.apps.flying.end(0, well(world.apps.flying[0][0]))
                else:
                    world.upstreams.flying.end(0, fine(world.upstreams.flying[0][0]))
                world.settle()
            left = [run for run in world.runs() if not run.status.ended]
            if not left:
                return
            due = min(item.due_at for run in left for item in world.items(run.run_id))
            world.advance(max(1_000, due - world.clock.now()))
        stuck = [(run, world.items(run.run_id)) for run in world.runs() if not run.status.ended]
        raise AssertionError(f"runs that never end: {msgspec.json.encode(msgspec.to_builtins(stuck))[:2_000]!r}")


TestNoRunHangs = NoRunHangs.TestCase
TestNoRunHangs.settings = settings(
    max_examples=400 if LONG else 40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
