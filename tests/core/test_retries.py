"""When failed calls are tried again, and how often (protocol 5.4)."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.inputs import Answered, Env
from stepwell.core.machine import step
from stepwell.core.model import RunStatus, StoredEvent
from stepwell.core.retries import call_delay
from stepwell.core.runs import start
from stepwell.wire.calls import Answer, AnswerKind
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.functions import BadRegistration, parse_function

SECONDS = [15, 30, 60, 120, 300, 600, 1_200, 2_400, 3_600, 7_200]
DAY = 24 * 3_600_000
NOW = 1_700_000_000_000
EVENT = StoredEvent(internal_id="E", event_id="e", name="x", received_at=NOW, body=b"{}")


@pytest.mark.parametrize(("failed", "seconds"), [*enumerate(SECONDS), (10, 7_200), (19, 7_200)])
@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999_999])
def test_the_table(failed: int, seconds: int, jitter: float) -> None:
    delay = call_delay(failed, None, Env(now=NOW, jitter=jitter))
    assert delay == seconds * 1_000 + int(jitter * 30_000)
    assert seconds * 1_000 <= delay < seconds * 1_000 + 30_000


@given(st.integers(0, 20), st.floats(0, 1, exclude_max=True), st.integers(1, 10**6))
def test_a_flat_interval_takes_the_place_of_the_table(failed: int, jitter: float, flat: int) -> None:
    assert call_delay(failed, None, Env(now=NOW, jitter=jitter, flat_retry_ms=flat)) == flat


@pytest.mark.parametrize(
    ("says", "delay"),
    [("7", 7_000), ("0", 1_000), ("100000000", DAY), ("2023-11-14T22:14:20Z", 60_000), ("2001-01-01T00:00:00Z", 1_000)],
)
@pytest.mark.parametrize("flat", [None, 5])
def test_the_app_s_own_word_wins_between_a_second_and_a_day(says: str, delay: int, flat: int | None) -> None:
    assert call_delay(3, says, Env(now=NOW, flat_retry_ms=flat)) == delay


def test_a_word_that_can_not_be_read_is_none() -> None:
    assert call_delay(0, "in a while", Env(now=NOW, jitter=0)) == 15_000


@pytest.mark.parametrize("retries", [0, 1, 4, 20])
def test_so_many_retries_and_no_more(retries: int) -> None:
    function = parse_function({"id": "a-f", "steps": {"step": {"retries": {"attempts": retries}}}}, "http://h/api")
    view, commit = start(
        Env(now=NOW), run_id="R", app_id="a", function_id="a-f", event=EVENT, attempts=function.max_attempts
    )
    (item,), now, times = commit.put, NOW, list[int]()
    while not view.run.status.ended:
        times.append(now)
        failed = Answer(kind=AnswerKind.ERROR, error=ErrorInfo(message="no"))
        commit = step(view, [Answered(item, 0, failed, now)], Env(now=now, jitter=0))
        assert commit.run is not None
        view.apply(commit.run, commit.steps)
        for item in commit.put:
            now = item.due_at
    assert view.run.status is RunStatus.FAILED
    waits = [(after - before) // 1_000 for before, after in pairwise(times)]
    assert waits == (SECONDS + [7_200] * 10)[:retries]


@pytest.mark.parametrize("retries", [-1, 21, 1.5, "4", True])
def test_other_numbers_are_refused(retries: object) -> None:
    with pytest.raises(BadRegistration, match="attempts has to be an integer from 0 to 20"):
        parse_function({"id": "a-f", "steps": {"step": {"retries": {"attempts": retries}}}}, "http://h/api")
