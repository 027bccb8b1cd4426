"""Expressions over runs and their events: what they see, and what is wrong with one in words."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.cel import ExpressionError
from stepwell.core.model import Run, RunStatus
from stepwell.core.runfilters import FIELDS, RunFilter

NOW = 1_795_000_000_000
EVENT = {"name": "shop/paid", "data": {"order": 7, "user": {"plan": "pro"}, "tags": ["a", "b"]}}
RUN = Run(
    run_id="01R",
    function_id="shop-pay",
    app_id="shop",
    status=RunStatus.COMPLETED,
    queued_at=NOW - 9_000,
    started_at=NOW - 8_000,
    ended_at=NOW - 500,
    steps=4,
    completed=4,
    trigger="shop/paid",
    output=b'{"total": 12.5}',
)
FAILED = msgspec.structs.replace(RUN, status=RunStatus.FAILED, output=b'{"name":"Broken","message":"the lamp broke"}')


def passes(text: str, run: Run = RUN, event: dict[str, object] | None = EVENT) -> bool:
    return RunFilter(text).passes(run, event, now_ms=NOW)


@pytest.mark.parametrize(
    "text",
    [
        "event.data.order == 7",
        "event.name == 'shop/paid' && run.steps > 3",
        "event.data.user.plan in ['pro', 'team']",
        "event.data.tags.exists(tag, tag == 'b')",
        "run.status == 'completed' && run.function.startsWith('shop')",
        "run['app'] == 'shop' && run.trigger == event.name && run.id == '01R'",
        "run.duration_ms == 7500 && run.steps_ended == run.steps",
        "run.output.total > 12",
        "timestamp(run.queued_at) < now_minus('1s')",
        "run.error == null && run.original == null",
        "[1, 2].map(n, n + run.steps) == [5, 6]",
        "{'a': run.steps}.a == 4 ? true : event.data.missing",
    ],
)
def test_what_is_true(text: str) -> None:
    assert passes(text)


@pytest.mark.parametrize("text", ["event.data.order == 8", "event.nothing > 3", "run.error.name == 'x'", "run.steps"])
def test_what_is_not(text: str) -> None:
    assert not passes(text)


def test_a_failed_run_has_an_error_and_no_output() -> None:
    assert passes("run.error.name == 'Broken' && run.error.message.contains('lamp') && run.output == null", FAILED)
    waits = msgspec.structs.replace(RUN, status=RunStatus.RUNNING, ended_at=None, output=None, error="HTTP 503")
    assert passes("run.error.message == 'HTTP 503' && run.duration_ms == null", waits)


def test_a_run_without_its_event() -> None:
    assert passes("run.steps == 4", event=None)
    assert not passes("event.data.order == 7", event=None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("event.data.order = 7", "="),
        ("run.stauts == 'failed'", "no field 'stauts'; it has id, status, function"),
        ("run[event.name] == 1", "no field"),
        ("run == null", "needs a field after it"),
        ("[1].exists(run, run > 0)", "'run' is the name of something else"),
        ("async.data.order == 7", "async"),
        ("(" * 400, "nested"),
        ("x" * 9_000, "8192 characters"),
    ],
)
def test_what_is_wrong_is_said_in_words(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(said)):
        RunFilter(text)


def test_it_is_known_whether_the_event_is_needed() -> None:
    assert RunFilter("event.data.order == 7").needs_event
    assert RunFilter("run.steps > 3 && [event].exists(e, true)").needs_event
    assert not RunFilter("run.steps > 3").needs_event


@given(st.sampled_from(sorted(FIELDS)), st.binary(max_size=40), st.sampled_from(RunStatus))
def test_every_field_of_every_run_is_a_value(name: str, output: bytes, status: RunStatus) -> None:
    """Whatever the result is; a field equals itself, or is one that is not there."""
    run = msgspec.structs.replace(RUN, output=output, status=status)
    assert passes(f"run.{name} == run.{name}", run)
