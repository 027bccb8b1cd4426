"""A run's steps as rows of bars: nothing overlaps, nothing lies outside, each kind of waiting is a bar of its own."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.model import Attempt, Passed, Reason, Run, RunStatus, Step, StepStatus
from stepwell.server.dashboard.timeline import Bar, Kind, Timeline, timeline

NOW = 10_000


def a_run(**more: Any) -> Run:
    values: dict[str, Any] = {"status": RunStatus.RUNNING, "queued_at": 1_000, "started_at": 1_500, **more}
    return Run(run_id="R", function_id="f", app_id="a", **values)


def a_step(number: int = 0, **more: Any) -> Step:
    values: dict[str, Any] = {"op": "Gateway", "status": StepStatus.PLANNED, "created_at": 2_000, **more}
    return Step(run_id="R", step_id=f"s{number}", name=f"step {number}", number=number, **values)


def bars(step: Step, run: Run | None = None, **more: Any) -> list[tuple[Kind, float, float | None]]:
    """Those of the step's row, without HTTP phases."""
    row = timeline(run or a_run(), [step], NOW, **more).rows[1]
    return [(bar.kind, bar.start, bar.end) for bar in row.bars if bar.kind is not Kind.PHASE]


def test_queue_delay_and_execution_of_the_run() -> None:
    (row,) = timeline(a_run(), [], NOW).rows
    assert row.bars == (Bar(Kind.QUEUE, 1_000, 1_500), Bar(Kind.RUN, 1_500, None))
    (row,) = timeline(a_run(status=RunStatus.FAILED, ended_at=3_000), [], NOW).rows
    assert row.bars[-1] == Bar(Kind.FAILED, 1_500, 3_000)
    (row,) = timeline(a_run(started_at=None), [], NOW).rows
    assert row.bars == (Bar(Kind.QUEUE, 1_000, None),)


def test_attempts_the_delay_between_them_and_the_wait_for_the_next() -> None:
    attempts = (
        Attempt(number=0, started_at=2_100, ended_at=2_300, status=503, delay_ms=700, reason="status 503"),
        Attempt(number=1, started_at=3_000, ended_at=3_200, status=503, delay_ms=900, reason="status 503"),
    )
    step = a_step(status=StepStatus.RETRYING, attempts=attempts, due_at=4_100)
    assert bars(step) == [
        (Kind.QUEUE, 2_000, 2_100),
        (Kind.FAILED, 2_100, 2_300),
        (Kind.DELAY, 2_300, 3_000),
        (Kind.FAILED, 3_000, 3_200),
        (Kind.DELAY, 3_200, None),
    ]
    assert timeline(a_run(), [step], NOW).rows[1].note == "status 503"


def test_the_last_attempt_of_a_completed_request_ran() -> None:
    attempts = (
        Attempt(number=0, started_at=2_000, ended_at=2_300, error="reset"),
        Attempt(number=1, started_at=2_300, ended_at=2_400, status=200),
    )
    step = a_step(status=StepStatus.COMPLETED, attempts=attempts, position=0, ended_at=2_400)
    assert [kind for kind, _, _ in bars(step)] == [Kind.FAILED, Kind.RUN]


def test_bars_say_what_came_of_an_attempt_and_what_was_waited_for() -> None:
    asked = "status 429; the server asked for this delay"
    attempts = (
        Attempt(number=0, started_at=2_100, ended_at=2_200, status=429, delay_ms=800, reason=asked),
        Attempt(number=1, started_at=3_000, ended_at=3_100, error="read: the connection broke off"),
    )
    step = a_step(status=StepStatus.FAILED, attempts=attempts, position=0, ended_at=3_100)
    found = [(bar.kind, bar.note) for bar in timeline(a_run(), [step], NOW).rows[1].bars]
    assert found == [
        (Kind.QUEUE, ""),
        (Kind.FAILED, "HTTP 429"),
        (Kind.DELAY, asked),
        (Kind.FAILED, "read: the connection broke off"),
    ]


def test_what_held_an_attempt_back_is_a_bar_of_its_own() -> None:
    breaker, rate = Passed("host:h", Reason.BREAKER), Passed("host:h", Reason.RATE)
    attempts = (
        Attempt(number=0, started_at=2_100, ended_at=2_200, status=500, delay_ms=300, passed=(rate,), held_ms=100),
        Attempt(number=1, started_at=4_000, ended_at=4_100, status=200, passed=(breaker,), held_ms=1_500),
    )
    step = a_step(status=StepStatus.COMPLETED, attempts=attempts, position=0, ended_at=4_100)
    row = timeline(a_run(), [step], NOW).rows[1]
    assert [(bar.kind, bar.start, bar.end) for bar in row.bars] == [
        (Kind.HELD, 2_000, 2_100),
        (Kind.FAILED, 2_100, 2_200),
        (Kind.DELAY, 2_200, 2_500),
        (Kind.HELD, 2_500, 4_000),
        (Kind.RUN, 4_000, 4_100),
    ]
    assert row.bars[0].note == "rate limit of host h"
    assert row.bars[3].note == "circuit breaker of host h (too many of its answers were failures)"


def test_phases_follow_each_other_within_their_attempt() -> None:
    phases = {"dns": 10.0, "connect": 20.0, "tls": 30.0, "first_byte": 100.0, "transfer": 5.0}
    attempt = Attempt(number=0, started_at=2_000, ended_at=2_170, status=200, phases=phases)
    step = a_step(status=StepStatus.COMPLETED, attempts=(attempt,), position=0, ended_at=2_170)
    found = [bar for bar in timeline(a_run(), [step], NOW).rows[1].bars if bar.kind is Kind.PHASE]
    assert [bar.name for bar in found] == list(phases)
    assert found[0].start == 2_000
    assert [bar.start for bar in found[1:]] == [bar.end for bar in found[:-1]]
    assert [bar.length for bar in found] == list(phases.values())


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        ("Sleep", Kind.SLEEP),
        ("WaitForEvent", Kind.WAIT),
        ("WaitForSignal", Kind.WAIT),
        ("InvokeFunction", Kind.WAIT),
        ("Gateway", Kind.RUN),
        ("StepPlanned", Kind.QUEUE),
    ],
)
def test_what_goes_on_is_open_and_what_was_cut_off_ends_with_the_run(op: str, kind: Kind) -> None:
    assert bars(a_step(op=op)) == [(kind, 2_000, None)]
    over = a_run(status=RunStatus.CANCELLED, ended_at=5_000)
    assert bars(a_step(op=op), over) == [(kind, 2_000, 5_000)]
    assert timeline(over, [a_step(op=op)], NOW).rows[1].status == "stopped"


def test_what_a_limit_holds_back_says_so() -> None:
    assert bars(a_step(), held={"s0": "rate limit of host x"}) == [(Kind.HELD, 2_000, None)]
    assert timeline(a_run(), [a_step()], NOW, held={"s0": "rate limit"}).rows[1].note == "rate limit"


def test_child_runs_lie_under_the_step_that_invoked_them() -> None:
    child = Run(run_id="C", function_id="g", app_id="a", queued_at=2_100, parent="R.s0")
    rows = timeline(a_run(), [a_step(op="InvokeFunction"), a_step(1)], NOW, children={"s0": [child]}).rows
    assert [(row.run_id, row.step_id, row.depth) for row in rows] == [
        ("R", "", 0),
        ("R", "s0", 0),
        ("C", "", 1),
        ("R", "s1", 0),
    ]


def test_a_part_of_many_steps() -> None:
    steps = [a_step(number) for number in range(10_000)]
    made = timeline(a_run(), reversed(steps), NOW, first=9_900, count=200)
    assert [row.step_id for row in made.rows[1:]] == [f"s{number}" for number in range(9_900, 10_000)]


TIMES = st.integers(0, 5_000)


@st.composite
def any_step(draw: st.DrawFn) -> Step:
    at = draw(TIMES)
    made: list[Attempt] = []
    begun = at
    for number in range(draw(st.integers(0, 4))):
        begun += draw(TIMES)
        ended = begun + draw(TIMES)
        phases = {"dns": draw(st.floats(0, 50)), "transfer": draw(st.floats(0, 50))}
        made.append(Attempt(number=number, started_at=begun, ended_at=ended, phases=phases))
        begun = ended
    over = draw(st.booleans())
    status = draw(st.sampled_from([StepStatus.COMPLETED, StepStatus.FAILED] if over else list(StepStatus)[:3]))
    op = draw(st.sampled_from(["Gateway", "StepRun", "Sleep", "WaitForEvent", "InvokeFunction", "Odd"]))
    return a_step(
        draw(st.integers(0, 9)),
        op=op,
        status=status,
        created_at=at,
        attempts=tuple(made),
        position=0 if over else None,
        started_at=draw(st.none() | st.just(at)),
        ended_at=begun + draw(TIMES) if over else None,
    )


@given(any_step(), st.booleans())
def test_bars_of_any_step_do_not_overlap_and_only_the_last_is_open(step: Step, held: bool) -> None:
    made = timeline(a_run(queued_at=0), [step], 100_000, held={step.step_id: "x"} if held else None)
    plain = [bar for bar in made.rows[1].bars if bar.kind is not Kind.PHASE]
    assert all(bar.end is not None for bar in plain[:-1])
    assert plain or step.ended
    for bar, following in pairwise(plain):
        assert bar.end is not None
        assert bar.start <= bar.end <= following.start
    for bar in made.rows[1].bars:
        left, width = made.place(bar)
        assert left >= 0
        assert width > 0
        assert left + width <= 100.001


@given(st.integers(0, 10**13), st.integers(0, 10**12))
def test_labels_are_few_and_lie_within(start: int, span: int) -> None:
    ticks = Timeline(start, start + span).ticks()
    assert 1 <= len(ticks) <= 6
    assert all(0 <= place <= 100.001 for _, place in ticks)
    assert [at for at, _ in ticks] == sorted({at for at, _ in ticks})
