"""Each invariant says what is wrong, and nothing of what is right."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stepwell.core import invariants
from stepwell.core.flow.pace import SLACK_MS, interval_us, opens_at, passed
from stepwell.core.invariants import Result, Stored
from stepwell.core.model import Item, Limit, Pace, Run, RunStatus, Step, StepStatus, WorkKind
from stepwell.core.waits import SINGLETON

RUN = Run(
    run_id="r", function_id="f", app_id="a", status=RunStatus.RUNNING, steps=2, completed=1, pending=1, state_bytes=1
)
DONE = Step(
    run_id="r", step_id="d", name="d", op="StepRun", status=StepStatus.COMPLETED, number=0, position=0, memo=b"1"
)
OPEN = Step(run_id="r", step_id="o", name="o", op="Sleep", status=StepStatus.WAITING, number=1, own_item=True)
TIMER = Item(run_id="r", key="o", kind=WorkKind.TIMER, due_at=1)
GOOD = Stored(run=RUN, steps=[DONE, OPEN], items=[TIMER], waits=["o"])
ENDED = replace(RUN, status=RunStatus.COMPLETED, ended_at=1)


def test_a_run_that_waits_for_a_step_is_well() -> None:
    assert invariants.problems(GOOD) == []
    assert invariants.problems(Stored(run=ENDED, steps=[DONE, OPEN])) == []


def test_each_contradiction_is_told() -> None:
    for broken, told in [
        (replace(GOOD, run=replace(RUN, completed=2)), "2 results"),
        (replace(GOOD, run=replace(RUN, steps=3)), "3 steps"),
        (replace(GOOD, run=replace(RUN, pending=0)), "waits for 0 steps"),
        (replace(GOOD, run=replace(RUN, state_bytes=9)), "9 bytes"),
        (replace(GOOD, items=[]), "nothing that could ever end it"),
        (replace(GOOD, items=[replace(TIMER, key="step", kind=WorkKind.CALL)]), "nothing works on"),
        (replace(GOOD, items=[TIMER, replace(TIMER, key="x")]), "no such step"),
        (replace(GOOD, run=replace(RUN, discovering=True)), "to be called"),
        (replace(GOOD, waits=["d"]), "has ended and still waits"),
        (replace(GOOD, run=ENDED, waits=[]), "still has work"),
        (replace(GOOD, run=ENDED, items=[]), "o still waits"),
        (replace(GOOD, run=replace(ENDED, ended_at=None), items=[], waits=[]), "nobody knows when"),
    ]:
        assert any(told in sentence for sentence in invariants.problems(broken)), told


def test_a_recorded_result_never_changes() -> None:
    assert invariants.results([DONE, OPEN]) == {"d": Result(0, b"1")}
    assert invariants.changed({"d": Result(0, b"1")}, [DONE]) == []
    assert len(invariants.changed({"d": Result(0, b"2")}, [DONE])) == 1
    assert len(invariants.changed({"o": Result(0, b"1")}, [OPEN])) == 1


def test_limits_count_claims_and_runs_that_hold_slots() -> None:
    item = replace(TIMER, limits=(Limit("b", 2),))
    assert invariants.over_limit([item, item], {}) == []
    assert invariants.over_limit([item, item], {"b": 1}) == ["3 at once in b, where 2 may be"]


@pytest.mark.parametrize(
    ("times", "told"),
    [
        ([], []),
        ([0, 0, 4_980], []),
        ([0, 0, 4_979], ["3 within 4979 ms in b, where 2 may in each 10000 ms, and 1 more at once"]),
        ([0, 0, 0], ["3 within 0 ms in b, where 2 may in each 10000 ms, and 1 more at once"]),
        ([90_000, 0], ["2 within -90000 ms in b, where 2 may in each 10000 ms, and 1 more at once"]),
        ([0, 90_000, 94_980, 99_960], []),
    ],
)
def test_a_pace_is_kept_in_every_window(times: list[int], told: list[str]) -> None:
    assert invariants.over_pace(times, Pace("b", 2, 10_000, 1), 20) == told


paces = st.builds(Pace, st.just("b"), st.integers(1, 5), st.integers(1, 3_000), st.integers(0, 3))


@given(times=st.lists(st.integers(0, 5_000), max_size=12), pace=paces, slack=st.sampled_from([0, 20]))
def test_a_pace_is_what_the_documents_say(times: list[int], pace: Pace, slack: int) -> None:
    rate = Fraction(pace.limit, pace.period_ms)
    windows = [(j - i + 1, times[j] - times[i]) for j in range(len(times)) for i in range(j + 1)]
    broken = any(count > pace.burst + 1 + (w + slack) * rate for count, w in windows)
    assert bool(invariants.over_pace(times, pace, slack)) == broken


@given(clocks=st.lists(st.integers(0, 20_000), max_size=40), pace=paces)
def test_what_gcra_lets_pass_keeps_the_pace_whatever_the_clocks_say(clocks: list[int], pace: Pace) -> None:
    interval, tat, let = interval_us(pace.limit, pace.period_ms), 0, list[int]()
    for now in clocks:
        if opens_at(tat, interval, pace.burst) <= now:
            tat = passed(tat, interval, now)
            let.append(now)
    assert invariants.over_pace(let, pace, SLACK_MS) == []


def test_a_singleton_is_alone_unless_the_other_is_leaving() -> None:
    one = replace(RUN, buckets=("singleton:f:",))
    other = replace(one, run_id="s")
    assert invariants.not_alone([one, replace(other, buckets=("batch:f:",))], []) == []
    assert len(invariants.not_alone([one, other], [])) == 1
    assert invariants.not_alone([one, other], [Item(run_id="s", key=SINGLETON, kind=WorkKind.CANCEL, due_at=1)]) == []


def test_an_event_has_started_what_it_should() -> None:
    assert invariants.unanswered("e", ["f"], ["f"]) == []
    assert invariants.unanswered("e", ["f"], ["f", "g"]) == ["the event e has started no run of g"]
