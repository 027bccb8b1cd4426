"""Ids of spans: the same from the same records, whoever makes them; different for different things."""

from msgspec.structs import replace

from stepwell.core.inputs import Answered
from stepwell.core.model import Attempt, Item, Run, RunStatus, Step, StepStatus, StoredEvent, WorkKind
from stepwell.core.propagation import PassedOn, Traced
from stepwell.core.spans import call_span, event_span, run_span, step_spans
from stepwell.server.store.codec import decode_run, decode_step, encode
from stepwell.wire.calls import Answer, AnswerKind
from stepwell.wire.traces import parse_context

RUN = Run(run_id="R", function_id="f", app_id="a", event_ids=("E",), queued_at=5, started_at=7, ended_at=9)
FETCH = Step(
    run_id="R",
    step_id="s",
    name="get",
    op="Gateway",
    status=StepStatus.COMPLETED,
    number=0,
    position=0,
    attempt=2,
    attempts=(
        Attempt(number=0, started_at=1, ended_at=2, error="dns: no such host"),
        Attempt(number=1, started_at=3, ended_at=4, status=404),
    ),
    info=b'{"method":"PUT","url":"https://user:pw@h.example/a"}',
)
ITEM = Item(run_id="R", key="s", kind=WorkKind.CALL, due_at=0, claim=3)
ANSWERED = Answered(ITEM, 0, Answer(kind=AnswerKind.RETURNED, status=200), 6)


def test_stored_records_make_the_same_spans() -> None:
    again = decode_run(encode(RUN)), decode_step(encode(FETCH))
    assert run_span(again[0]) == run_span(RUN)
    assert step_spans(*again) == step_spans(RUN, FETCH)


def test_every_thing_has_an_id_of_its_own_in_one_trace() -> None:
    event = StoredEvent(internal_id="E", event_id="E", name="n", received_at=5, body=b"{}")
    later = replace(ITEM, claim=4)
    calls = [call_span(RUN, Answered(item, 0, ANSWERED.answer, 6), 8, "") for item in (ITEM, later)]
    spans = [event_span(event), run_span(RUN), *step_spans(RUN, FETCH), *calls]
    assert len({span.at.span_id for span in spans}) == 7
    assert len({span.at.trace_id for span in spans}) == 1
    other = run_span(replace(RUN, event_ids=("F",)))
    assert other.at.trace_id != spans[0].at.trace_id


def test_attempts_say_what_went_wrong_and_hide_who_asked() -> None:
    _, broken, missing = step_spans(RUN, FETCH)
    assert (broken.error, missing.error) == ("dns", "404")
    assert missing.attributes["url.full"] == "https://h.example/a"
    assert missing.attributes["server.port"] == 443
    assert missing.name == "PUT"


def test_a_run_that_failed_is_an_error_and_no_other() -> None:
    failed = replace(RUN, status=RunStatus.FAILED, output=b'{"name":"KeyError","message":"x"}')
    assert run_span(failed).error == "KeyError"
    assert run_span(replace(RUN, status=RunStatus.CANCELLED)).error is None


def test_the_app_s_spans_go_below_the_call_that_is_sent() -> None:
    given = parse_context(Traced().call(RUN, ITEM)["traceparent"])
    assert given is not None
    assert given.span_id == call_span(RUN, ANSWERED, 8, "").at.span_id
    assert PassedOn().call(RUN, ITEM) == {}
