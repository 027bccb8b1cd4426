"""What a run has to keep to from its start on: its rules, its first call, its time-outs."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.flow.entrance import entrance
from stepwell.core.flow.starts import MAX_PRIORITY_S, StartRules, rules_for
from stepwell.core.inputs import Answered, Began, Env, Fired, Held, Input
from stepwell.core.machine import step
from stepwell.core.model import Item, Limit, Pace, RunStatus, RunView, StoredEvent, WorkKind
from stepwell.core.outputs import Commit
from stepwell.core.runs import start
from stepwell.wire.calls import Answer, AnswerKind
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.function_config import Debounce, RateLimit
from stepwell.wire.functions import Concurrency, FunctionConfig, Throttle
from stepwell.wire.ops import Op

NOW = 1_000_000_000


def config(**parts: Any) -> FunctionConfig:
    return FunctionConfig(id="app-f", name="f", **parts)


def rules(data: object = None, **parts: Any) -> StartRules:
    return rules_for(config(**parts), msgspec.json.encode({"data": data}))


class World:
    """The items of one run, and what becomes of them."""

    def __init__(self, given: StartRules, ts: int = NOW) -> None:
        self.items: dict[str, Item] = {}
        event = StoredEvent(internal_id="E", event_id="e", name="x", received_at=NOW, body=b"{}", ts=ts)
        self.view, commit = start(
            Env(now=NOW), run_id="R", app_id="app", function_id="app-f", event=event, attempts=3, rules=given
        )
        self.take(commit)

    def take(self, commit: Commit) -> None:
        for ref in commit.done:
            self.items.pop(ref.key)
        if commit.drop:
            self.items.clear()
        self.items |= {item.key: item for item in commit.put}
        if commit.run is not None:
            self.view.apply(commit.run, commit.steps)

    def give(self, given: Input, now: int) -> RunView:
        self.take(step(self.view, [given], Env(now=now, flat_retry_ms=10)))
        return self.view

    def answer(self, answer: Answer, now: int, key: str = "step") -> RunView:
        return self.give(Answered(self.items[key], 0, answer, now), now)


FAILED = Answer(kind=AnswerKind.ERROR, error=ErrorInfo(message="no"))
SLEEPS = Answer(kind=AnswerKind.OPS, ops=[Op(op="Sleep", id="s", name="1h")], req_version=2)


def test_a_function_without_rules_reads_no_event() -> None:
    assert rules_for(config(), b"never read") == StartRules()


def test_the_key_of_a_throttle_is_its_value() -> None:
    throttle = Throttle(limit=5, period_ms=60_000, burst=3, key="event.data.user")
    (one,) = rules({"user": 1}, throttle=throttle).throttle
    (other,) = rules({"user": 2}, throttle=throttle).throttle
    assert one.bucket.startswith("throttle:app-f:")
    assert one.bucket != other.bucket
    assert (one.limit, one.period_ms, one.burst) == (5, 60_000, 2), "three at once are one, and two more"


@pytest.mark.parametrize("key", ["now()", "now_plus('1h')", "event.data.no.such", "1 / 0"])
def test_keys_know_no_time_and_what_is_missing_is_one_value(key: str) -> None:
    """Else each event would have a key of its own, and the limit would never hold."""
    first, other = ({"user": n} for n in range(2))
    throttle = Throttle(limit=1, period_ms=1_000, burst=1, key=key)
    concurrency = (Concurrency(limit=1, key=key),)
    made = [
        rules(data, throttle=throttle, concurrency=concurrency, run_concurrency=concurrency) for data in (first, other)
    ]
    assert made[0] == made[1]
    slug = config(rate_limit=RateLimit(limit=1, period_ms=1_000, key=key), debounce=Debounce(period_ms=1_000, key=key))
    entrances = [entrance(slug, b'{"data":{"user":%d},"ts":%d}' % (n, n), n) for n in range(2)]
    assert entrances[0] == entrances[1]
    assert entrances[0].rate is not None


@pytest.mark.parametrize("burst", [0, 1])
def test_a_burst_of_one_is_none(burst: int) -> None:
    (pace,) = rules(throttle=Throttle(limit=1, period_ms=1_000, burst=burst)).throttle
    assert pace.burst == 0


def test_the_slots_of_runs() -> None:
    entries = (Concurrency(limit=5), Concurrency(limit=2, key="event.data.user"), Concurrency(limit=3))
    holds = rules({"user": 1}, run_concurrency=entries).holds
    assert [limit.limit for limit in holds] == [3, 2]
    assert holds[0].bucket == "run:app-f:"


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [
        ("120", 120),
        ("event.data.n", 7),
        ("-600.0", -600),
        ("event.data.vip ? 600 : 0", 0),
        ("10000000", MAX_PRIORITY_S),
        ("event.data.huge", MAX_PRIORITY_S),
        ("-10000000", -MAX_PRIORITY_S),
        ("event.data.name", 0),
        ("true", 0),
        ("null", 0),
        ("1.0 / 0.0", 0),
        ("event.data.(", 0),
    ],
)
def test_priorities(expression: str, seconds: int) -> None:
    assert rules({"n": 7.9, "name": "x", "huge": 10**400}, priority=expression).priority_ms == seconds * 1000


@given(st.integers(-(10**9), 10**9), st.integers(-5_000, 5_000))
def test_a_priority_moves_what_is_due_now_and_nothing_else(seconds: int, ahead: int) -> None:
    priority_ms = rules(priority=str(seconds)).priority_ms
    world = World(StartRules(priority_ms=priority_ms), ts=NOW + ahead)
    due_at = world.items["step"].due_at
    assert due_at == (NOW + ahead if ahead > 0 else NOW - priority_ms)


def test_the_later_work_of_a_run_goes_early_too_and_never_late() -> None:
    for priority_ms, early in ((60_000, 60_000), (-60_000, 0)):
        world = World(StartRules(priority_ms=priority_ms))
        planned = [Op(op="StepPlanned", id="a"), Op(op="Sleep", id="s", name="1h")]
        world.answer(Answer(kind=AnswerKind.OPS, ops=planned, req_version=2), NOW)
        assert world.items["a"].due_at == NOW - early
        assert world.items["s"].due_at == NOW + 3_600_000
        world.give(Fired(world.items["s"]), NOW + 3_600_000)
        assert "step" not in world.items
        ran = Answer(kind=AnswerKind.OPS, ops=[Op(op="StepRun", id="a", data=msgspec.Raw(b"1"))], req_version=2)
        world.answer(ran, NOW + 3_600_000, key="a")
        assert world.items["step"].due_at == NOW + 3_600_000 - early


def test_only_the_first_call_passes_the_throttle_and_takes_the_slots() -> None:
    pace, slot = Pace("throttle:app-f:", 1), Limit("run:app-f:", 1)
    world = World(StartRules(throttle=(pace,), holds=(slot,)))
    assert (world.items["step"].paces, world.items["step"].holds) == ((pace,), (slot,))
    world.give(Held(world.items["step"], 2_000, "not connected", NOW), NOW)
    assert world.items["step"].paces == (pace,), "it has not begun: it is paced when the app is back"
    world.answer(FAILED, NOW)
    assert (world.items["step"].attempt, world.items["step"].paces, world.items["step"].holds) == (1, (), ())
    world.answer(SLEEPS, NOW)
    world.give(Fired(world.items["s"]), NOW)
    assert (world.items["step"].paces, world.items["step"].holds) == ((), ())


def test_a_run_that_does_not_start_in_time_is_cancelled_with_the_reason() -> None:
    world = World(StartRules(start_ms=10_000))
    timer = world.items["timeout:start"]
    assert (timer.kind, timer.due_at) == (WorkKind.CANCEL, NOW + 10_000)
    view = world.give(Fired(timer), NOW + 10_000)
    assert view.run.status is RunStatus.CANCELLED
    assert b"had not started within 10s" in (view.run.output or b"")
    assert not world.items


def test_the_time_to_start_is_counted_from_when_the_run_is_due() -> None:
    world = World(StartRules(start_ms=10_000), ts=NOW + 3_600_000)
    assert world.items["timeout:start"].due_at == NOW + 3_610_000
    for priority_ms, due_at in ((60_000, NOW + 10_000), (-60_000, NOW + 70_000)):
        assert World(StartRules(start_ms=10_000, priority_ms=priority_ms)).items["timeout:start"].due_at == due_at


@pytest.mark.parametrize("told", [True, False])
def test_a_run_that_has_started_goes_on(told: bool) -> None:
    world = World(StartRules(start_ms=10_000))
    if told:
        world.give(Began(NOW + 5), NOW + 5)
        assert (world.view.run.status, world.view.run.started_at) == (RunStatus.RUNNING, NOW + 5)
    else:
        world.answer(SLEEPS, NOW + 5)
    view = world.give(Fired(world.items["timeout:start"]), NOW + 10_000)
    assert not view.run.status.ended
    assert "timeout:start" not in world.items


@pytest.mark.parametrize("told", [True, False])
def test_a_run_that_takes_too_long_is_cancelled_with_the_reason(told: bool) -> None:
    world = World(StartRules(finish_ms=10_000))
    assert set(world.items) == {"step"}, "its time has not begun"
    if told:
        world.give(Began(NOW + 500), NOW + 500)
    else:
        world.answer(SLEEPS, NOW + 500)
    timer = world.items["timeout:finish"]
    assert timer.due_at == NOW + 10_500
    world.give(Began(NOW + 9_000), NOW + 9_000)
    assert world.items["timeout:finish"] == timer, "it began once"
    view = world.give(Fired(timer), NOW + 10_500)
    assert view.run.status is RunStatus.CANCELLED
    assert b"had not finished within 10s" in (view.run.output or b"")
    assert not world.items


def test_a_run_that_ends_in_time_leaves_no_timer() -> None:
    world = World(StartRules(start_ms=10_000, finish_ms=10_000))
    world.give(Began(NOW), NOW)
    view = world.answer(Answer(kind=AnswerKind.RETURNED, data=b"1"), NOW + 5)
    assert view.run.status is RunStatus.COMPLETED
    assert not world.items
