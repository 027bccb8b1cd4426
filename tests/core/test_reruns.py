"""A run made anew: what it takes over, what it is told, and what it is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.inputs import Env
from stepwell.core.model import Run, RunStatus, RunView, Step, StepStatus, StoredEvent
from stepwell.core.outputs import Commit
from stepwell.core.reruns import CannotRerun, edited_inputs, find_step, rerun
from stepwell.core.runs import start
from stepwell.wire.ids import step_hash

EVENT = StoredEvent(internal_id="E", event_id="x", name="go", received_at=1, body=b'{"name":"go"}')


def old_run(order: list[int], unfinished: int = 0) -> RunView:
    """Steps by number; ``order`` is how they ended."""
    run = Run(
        run_id="OLD", function_id="a-f", app_id="a", status=RunStatus.FAILED, event_ids=("E", "E2"), req_version=2
    )
    view = RunView(run, [EVENT.body])
    steps = [
        Step(
            run_id="OLD",
            step_id=step_hash(f"s{number}"),
            name=f"s{number}",
            op="StepRun",
            status=StepStatus.PLANNED,
            number=number,
            group=1,
            own_item=True,
        )
        for number in range(len(order) + unfinished)
    ]
    ended = [
        Step(**{**fields(steps[number]), "position": at, "memo": b'{"data":%d}' % number, "checkpointed": True})
        for at, number in enumerate(order)
    ]
    view.apply(run, steps)
    view.apply(run, ended)
    return view


def fields(step: Step) -> dict[str, object]:
    return {name: getattr(step, name) for name in Step.__struct_fields__}


def fresh() -> tuple[RunView, Commit]:
    return start(Env(now=9), run_id="NEW", app_id="a", function_id="a-f", event=EVENT, attempts=3)


@given(st.permutations(range(6)), st.integers(0, 2), st.data())
def test_what_ended_before_the_step_is_kept_in_its_order(
    order: list[int], unfinished: int, data: st.DataObject
) -> None:
    old = old_run(order, unfinished)
    number = data.draw(st.integers(0, 5 + unfinished))
    view, commit = rerun(old, fresh(), f"s{number}")
    before = order[: order.index(number)] if number in order else order
    assert view.stack == [step_hash(f"s{each}") for each in before]
    assert [view.memos[step_id] for step_id in view.stack] == [b'{"data":%d}' % each for each in before]
    run = view.run
    assert (run.run_id, run.original, run.event_ids, run.status) == ("NEW", "OLD", ("E", "E2"), RunStatus.QUEUED)
    assert (run.steps, run.completed, run.pending, run.group_left) == (len(before), len(before), 0, 0)
    assert run.state_bytes == sum(map(len, view.memos.values()))
    assert commit.run == run
    assert commit.key is None
    assert [(step.number, step.position, step.run_id) for step in commit.steps] == [
        (at, at, "NEW") for at in range(len(before))
    ]
    assert not any(step.group or step.own_item or step.checkpointed for step in commit.steps)


def test_from_the_start_nothing_is_kept() -> None:
    view, commit = rerun(old_run([0, 1]), fresh())
    assert (view.stack, commit.steps, view.run.req_version, view.run.original) == ([], (), -1, "OLD")
    assert [item.key for item in commit.put] == ["step"]


def test_an_edited_input_is_told_until_the_step_has_ended() -> None:
    view, commit = rerun(old_run([1, 0]), fresh(), "s0", [{"n": 1}, "x"])
    assert edited_inputs(view) == {step_hash("s0"): b'[{"n":1},"x"]'}
    assert view.stack == [step_hash("s1")]
    assert (view.run.steps, view.run.completed) == (2, 1)
    ended = Step(**{**fields(commit.steps[1]), "position": 1, "memo": b"1"})
    view.apply(view.run, [ended])
    assert edited_inputs(view) == {}


def test_the_parent_of_the_old_run_hears_nothing_of_the_new_one() -> None:
    invoked = StoredEvent(
        internal_id="E",
        event_id="x",
        name="inngest/function.invoked",
        received_at=1,
        body=b'{"name":"inngest/function.invoked","data":{"_inngest":{"fn_id":"a-f","correlation_id":"P.s"}}}',
    )
    made = start(Env(now=9), run_id="NEW", app_id="a", function_id="a-f", event=invoked, attempts=3)
    assert made[0].run.parent == "P.s"
    assert rerun(old_run([0]), made)[0].run.parent is None


@pytest.mark.parametrize(("text", "args", "said"), [("none", None, "no step 'none'"), (None, [1], "from_step")])
def test_what_can_not_be(text: str | None, args: list[object] | None, said: str) -> None:
    with pytest.raises(CannotRerun, match=said):
        rerun(old_run([0]), fresh(), text, args)


def test_a_step_is_found_by_id_and_by_a_name_that_only_it_has() -> None:
    view = old_run([0, 1])
    assert find_step(view, step_hash("s1")).name == "s1"
    assert find_step(view, "s1").name == "s1"
    twins = [Step(**{**fields(step), "name": "twin"}) for step in view.steps.values()]
    view.apply(view.run, twins)
    with pytest.raises(CannotRerun, match="2 steps are called 'twin'"):
        find_step(view, "twin")
