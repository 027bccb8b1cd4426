"""When a step began that an app ran: with its call, after what was checkpointed in that call, or as the app says."""

from collections.abc import Sequence

import msgspec
import pytest

from stepwell.core.inputs import Answered, Checkpointed, Env
from stepwell.core.machine import step
from stepwell.core.model import Item, Step, StepStatus, StoredEvent
from stepwell.core.runs import start
from stepwell.core.spans import step_spans
from stepwell.server.dashboard.timeline import Kind, timeline
from stepwell.wire.answers import parse_ops
from stepwell.wire.calls import Answer, AnswerKind
from stepwell.wire.ops import Op, Timing

EVENT = StoredEvent(internal_id="E1", event_id="e1", name="x", received_at=0, body=b'{"name":"x"}')
TOOK_90 = Timing(1_700_000_000_000_000_000, 90_999_999)


class World:
    """One run; calls of the app are made and answered by hand."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.view, commit = start(Env(now=1_000), run_id="R", app_id="a", function_id="a-f", event=EVENT, attempts=4)
        self.take(commit.put)

    def take(self, put: Sequence[Item]) -> None:
        self.items.update({item.key: item for item in put})

    def answered(self, *ops: Op, began: int, now: int, key: str = "step", sent: int = 0) -> None:
        answer = Answer(kind=AnswerKind.OPS, ops=list(ops), req_version=2)
        self.told(Answered(self.items[key], sent, answer, began), now)

    def told(self, given: Answered | Checkpointed, now: int) -> None:
        commit = step(self.view, [given], Env(now=now))
        assert commit.run is not None
        self.view.apply(commit.run, commit.steps)
        self.take(commit.put)

    def step(self, step_id: str = "a") -> Step:
        return self.view.steps[step_id]

    def span(self, step_id: str = "a") -> tuple[int, int]:
        span = step_spans(self.view.run, self.step(step_id))[0]
        return span.start, span.end

    def bars(self, step_id: str = "a") -> list[tuple[Kind, float, float | None]]:
        row = next(
            row for row in timeline(self.view.run, self.view.steps.values(), 9_000).rows if row.step_id == step_id
        )
        return [(bar.kind, bar.start, bar.end) for bar in row.bars]


def op(code: str, step_id: str = "a", timing: Timing | None = None) -> Op:
    data = msgspec.Raw(b"1") if code == "StepRun" else None
    error = msgspec.Raw(b'{"name":"E","message":"m"}') if code in ("StepError", "StepFailed") else None
    return Op(op=code, id=step_id, display_name=step_id, data=data, error=error, timing=timing)


def test_a_step_that_ran_in_the_call_that_found_it_began_with_the_call() -> None:
    world = World()
    world.answered(op("StepRun"), began=2_000, now=2_500)
    assert world.span() == (2_000, 2_500)
    assert world.bars() == [(Kind.RUN, 2_000, 2_500)]


def test_a_step_with_a_call_of_its_own_waits_for_it_and_begins_with_it() -> None:
    world = World()
    world.answered(op("StepPlanned"), op("StepPlanned", "b"), began=2_000, now=2_100)
    world.answered(op("StepRun"), began=2_400, now=2_900, key="a")
    assert world.span() == (2_100, 2_900)
    assert world.bars() == [(Kind.QUEUE, 2_100, 2_400), (Kind.RUN, 2_400, 2_900)]


@pytest.mark.parametrize(("timing", "began"), [(None, 2_000), (TOOK_90, 2_410), (Timing(1, 9 * 10**9), 2_000)])
def test_how_long_it_took_is_what_the_app_says_within_the_call(timing: Timing | None, began: int) -> None:
    world = World()
    world.answered(op("StepRun", timing=timing), began=2_000, now=2_500)
    assert world.span() == (began, 2_500)


@pytest.mark.parametrize(("timing", "began"), [(None, 2_300), (TOOK_90, 2_210), (Timing(1, 9 * 10**9), 2_000)])
def test_a_checkpointed_step_began_when_the_app_says_within_the_run(timing: Timing | None, began: int) -> None:
    world = World()
    world.answered(op("StepRun", "first"), began=2_000, now=2_100)
    world.told(Checkpointed([op("StepRun", timing=timing)]), 2_300)
    assert world.step().started_at == began
    assert world.span() == (began, 2_300)


def test_what_runs_after_a_checkpoint_in_the_same_call_began_after_it() -> None:
    world = World()
    world.told(Checkpointed([op("StepRun", "first")]), 2_300)
    world.answered(op("StepFailed"), began=2_000, now=2_700)
    assert world.span() == (2_300, 2_700)


def test_attempts_of_a_step_have_their_lengths_and_the_last_one_is_among_them() -> None:
    world = World()
    world.answered(op("StepError"), began=2_000, now=2_200)
    again = world.items["step"].due_at
    world.answered(op("StepError", timing=TOOK_90), began=again, now=again + 100)
    last = world.items["step"].due_at
    world.answered(op("StepRun"), began=last, now=last + 300)
    assert world.step().status is StepStatus.COMPLETED
    assert [(each.started_at, each.ended_at) for each in world.step().attempts] == [
        (2_000, 2_200), (again + 10, again + 100), (last, last + 300)
    ]  # fmt: skip
    assert [(kind, end) for kind, _, end in world.bars()] == [
        (Kind.FAILED, 2_200), (Kind.DELAY, again + 10), (Kind.FAILED, again + 100), (Kind.DELAY, last), (Kind.RUN, last + 300)
    ]  # fmt: skip
    assert world.span() == (2_000, last + 300)


@pytest.mark.parametrize(
    ("said", "timing"),
    [
        ('{"a":1764190000000000000,"b":90999999}', Timing(1764190000000000000, 90999999)),
        ('{"a":1.76419e18,"b":9e7}', Timing(1764190000000000000, 90000000)),
        ('{"a":5,"b":0}', Timing(5, 0)),
        ('{"a":0,"b":0}', None),
        ('{"a":1}', None),
        ('{"a":1,"b":-1}', None),
        ('{"a":1,"b":1e300}', None),
        ('{"a":true,"b":"x"}', None),
        ("[1]", None),
        ("null", None),
    ],
)
def test_timing_as_sdks_send_it_and_nonsense_harms_nobody(said: str, timing: Timing | None) -> None:
    (found,) = parse_ops(b'{"op":"StepRun","id":"a","timing":' + said.encode() + b"}")
    assert found.timing == timing
