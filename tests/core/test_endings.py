"""Functions that end while steps of a race go on, in SDKs that report the losers and not the end."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from stepwell.core.endings import ENDING
from stepwell.core.inputs import Answered, Env, Fired
from stepwell.core.machine import step
from stepwell.core.model import Item, Limit, RunStatus, StoredEvent
from stepwell.core.runs import start
from stepwell.wire.calls import Answer, AnswerKind
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.ops import Op

EVENT = StoredEvent(internal_id="E1", event_id="e1", name="x", received_at=0, body=b'{"name":"x"}')
RACE = msgspec.Raw(b'{"parallelMode":"race"}')
LOSER = Op(op="Sleep", id="loser", name="1h", opts=RACE)
WINNER = Op(op="Sleep", id="winner", name="1s", opts=RACE)


class One:
    """One run, its items, and answers of an app."""

    def __init__(self) -> None:
        self.view, commit = start(Env(now=0), run_id="R", app_id="a", function_id="a-f", event=EVENT, attempts=3)
        self.items: dict[str, Item] = {item.key: item for item in commit.put}

    def give(self, given: Any) -> None:
        commit = step(self.view, [given], Env(now=1_000, flat_retry_ms=10))
        if commit.drop:
            self.items.clear()
        for ref in commit.done:
            self.items.pop(ref.key, None)
        self.items |= {item.key: item for item in commit.put}
        assert commit.run is not None
        self.view.apply(commit.run, commit.steps)

    def answer(self, *ops: Op, key: str = "step", sent: int | None = None, **members: Any) -> None:
        answer = Answer(kind=AnswerKind.OPS, ops=list(ops), req_version=2, ends_late=True)
        for name, value in members.items():
            setattr(answer, name, value)
        self.give(Answered(self.items[key], len(self.view.stack) if sent is None else sent, answer, 0))

    def raced(self) -> None:
        """The winner is there, and the app speaks of the loser only."""
        self.answer(LOSER, WINNER)
        self.give(Fired(self.items["winner"]))
        self.answer(LOSER)


def test_an_app_that_names_a_loser_only_is_asked_whether_it_has_ended() -> None:
    run = One()
    run.raced()
    assert sorted(run.items) == [ENDING, "loser"]
    run.answer(key=ENDING, kind=AnswerKind.RETURNED, data=b'"won"')
    assert (run.view.run.status, run.view.run.output) == (RunStatus.COMPLETED, b'"won"')
    assert not run.items


def test_a_result_may_be_told_by_an_op_and_so_may_a_final_error() -> None:
    run = One()
    run.raced()
    run.answer(Op(op="RunComplete", id="c", data=msgspec.Raw(b"7")), key=ENDING)
    assert (run.view.run.status, run.view.run.output) == (RunStatus.COMPLETED, b"7")
    run = One()
    run.raced()
    run.answer(key=ENDING, kind=AnswerKind.ERROR, error=ErrorInfo(name="E", message="no"), no_retry=True)
    assert run.view.run.status is RunStatus.FAILED


@pytest.mark.parametrize("kind", ["not found", "ops", "broken"])
def test_a_function_that_goes_on_waits_for_the_loser(kind: str) -> None:
    run = One()
    run.raced()
    if kind == "ops":
        run.answer(LOSER, key=ENDING)
    else:
        error = ErrorInfo(name="StepNotFound", message="no such step")
        run.answer(key=ENDING, kind=AnswerKind.ERROR, error=error, transport=kind == "broken", no_retry=None)
    assert sorted(run.items) == ["loser"]
    assert not run.view.run.status.ended
    run.give(Fired(run.items["loser"]))
    run.answer(kind=AnswerKind.RETURNED, data=b"1")
    assert run.view.run.output == b"1"


def test_what_ended_while_it_was_asked_is_asked_about_again() -> None:
    run = One()
    third = Op(op="Sleep", id="third", name="1s", opts=RACE)
    run.answer(LOSER, WINNER, third)
    run.give(Fired(run.items["winner"]))
    run.answer(LOSER, third)
    run.give(Fired(run.items["third"]))
    run.answer(LOSER)
    assert sorted(run.items) == [ENDING, "loser"]
    run.answer(key=ENDING, sent=1, kind=AnswerKind.ERROR, error=ErrorInfo(name="StepNotFound"))
    assert sorted(run.items) == [ENDING, "loser"]
    run.answer(key=ENDING, kind=AnswerKind.ERROR, error=ErrorInfo(name="StepNotFound"))
    assert sorted(run.items) == ["loser"]


def test_the_question_is_one_call_within_the_limits_of_the_run_and_ends_with_it() -> None:
    run = One()
    run.view.run = replace(run.view.run, limits=(Limit("fn:a-f:", 1),))
    run.raced()
    assert run.items[ENDING].limits == run.view.run.limits
    run.answer(key=ENDING, kind=AnswerKind.ERROR, error=ErrorInfo(message="no answer within 2 h"), transport=True)
    assert sorted(run.items) == ["loser"], "nothing has ended meanwhile: it is not asked again"
    run.give(Fired(run.items["loser"]))
    assert sorted(run.items) == ["step"]
    run.answer(kind=AnswerKind.RETURNED)
    assert not run.items


def test_nobody_is_asked_when_nothing_has_ended_when_there_is_news_or_without_a_race() -> None:
    run = One()
    run.answer(LOSER)
    assert sorted(run.items) == ["loser"]
    run = One()
    run.answer(LOSER, WINNER)
    run.give(Fired(run.items["winner"]))
    run.answer(LOSER, Op(op="Sleep", id="new", name="1s", opts=RACE))
    assert sorted(run.items) == ["loser", "new"]


def test_sdks_that_say_when_they_end_are_not_asked_and_a_result_in_place_of_a_step_is_none() -> None:
    run = One()
    run.answer(LOSER, WINNER, ends_late=False)
    run.give(Fired(run.items["winner"]))
    run.answer(LOSER, ends_late=False)
    assert sorted(run.items) == ["loser"]
    run = One()
    run.answer(Op(op="StepPlanned", id="a", opts=RACE), Op(op="StepPlanned", id="b", opts=RACE))
    run.answer(key="a", kind=AnswerKind.RETURNED, data=b"[]", ends_late=False)
    assert not run.view.run.status.ended
    assert run.items["a"].attempt == 1


def test_a_function_that_returns_where_a_step_was_asked_for_has_ended() -> None:
    run = One()
    run.answer(Op(op="StepPlanned", id="bad", opts=RACE), Op(op="StepPlanned", id="good", opts=RACE))
    run.answer(Op(op="StepError", id="bad", error=msgspec.Raw(b'{"name":"E","message":"m"}')), key="bad")
    run.answer(Op(op="StepRun", id="good", data=msgspec.Raw(b"1")), key="good")
    run.answer(key="bad", kind=AnswerKind.RETURNED, data=b'"good"')
    assert (run.view.run.status, run.view.run.output) == (RunStatus.COMPLETED, b'"good"')
