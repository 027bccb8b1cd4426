"""A run in memory takes over what a commit wrote, in whatever order that lists its steps."""

from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.model import RunView
from stepwell.testing.platform.store_conformance import a_run, a_step


@given(st.permutations(range(6)), st.integers(0, 6))
def test_steps_that_end_in_one_commit_are_told_of_by_position(order: list[int], before: int) -> None:
    view = RunView(a_run(), [])
    steps = [a_step("R1", number, position=number) for number in range(6)]
    view.apply(view.run, steps[:before])
    view.apply(view.run, [steps[number] for number in order if number >= before])
    assert view.stack == [step.step_id for step in steps]
    assert view.memos.keys() == set(view.stack)
