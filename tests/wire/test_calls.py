"""Calls and answers over HTTP: rendered, read back, and everything that can come instead."""

import json
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from inngest._internal import server_lib

from stepwell.wire.answers import parse_answer, parse_ops, render_answer
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.codec import BadCall, parse_call, render_call
from stepwell.wire.constants import MAX_ANSWER_BYTES
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.headers import call_headers, lower
from stepwell.wire.ops import Op, Userland
from stepwell.wire.signing import canonical_bytes

EVENT = b'{"id": "1","name":"x","data":{"f":1.0},"user":{},"ts":1700000000000}'
A, B, C = "a" * 40, "b" * 40, "c" * 40
SDK = {"x-inngest-sdk": "inngest-js:v4", "x-inngest-req-version": "2", "content-type": "application/json"}


def request(**members: Any) -> CallRequest:
    values: dict[str, Any] = {
        "function_id": "app-f",
        "run_id": "01RUN",
        "events": [EVENT],
        "steps": {B: b'{"data": 1.0}', A: b"null", C: b'{"data":3}'},
        "stack": [B, A, C],
        "current": 2,
        "fn_uuid": "u",
        "qi_id": "q",
        "request_id": "r",
        "generation": 3,
    }
    return CallRequest(**(values | members))


def test_call_has_the_protocols_members() -> None:
    body = json.loads(render_call(request()))
    assert body["event"] == body["events"][0] == json.loads(EVENT)
    assert body["steps"] == {B: {"data": 1.0}, A: None}
    assert (body["version"], body["use_api"], body["defers"]) == (-1, False, {})
    assert body["ctx"] == {
        "run_id": "01RUN",
        "env": "",
        "step_id": "step",
        "attempt": 0,
        "max_attempts": 5,
        "disable_immediate_execution": False,
        "use_api": False,
        "stack": {"stack": [B, A], "current": 2},
        "fn_id": "u",
        "qi_id": "q",
        "job_id": "q",
        "request_id": "r",
        "generation_id": 3,
    }


def test_memos_pass_untouched() -> None:
    assert b'{"data": 1.0}' in render_call(request())


def test_checkpointing_is_offered_whole_or_not_at_all() -> None:
    context = json.loads(render_call(request(fn_uuid="u", qi_id="")))["ctx"]
    assert not {"fn_id", "qi_id"} & set(context)


def test_large_state_is_left_for_the_api() -> None:
    body = json.loads(render_call(request(use_api=True)))
    assert (body["steps"], body["events"], body["use_api"], body["ctx"]["use_api"]) == ({}, [], True, True)
    assert body["event"] == json.loads(EVENT)


def test_the_official_sdk_reads_our_call() -> None:
    found = server_lib.ServerRequest.from_raw(json.loads(render_call(request(use_api=False))))
    assert isinstance(found, server_lib.ServerRequest)
    assert found.ctx.stack.stack == [B, A]


JSONS = st.recursive(
    st.none()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
STEPS = st.dictionaries(st.text("0123456789abcdef", min_size=4, max_size=6), JSONS, max_size=5)


@given(STEPS, JSONS, st.booleans(), st.integers(0, 5))
def test_canonical_call_is_rfc8785(steps: dict[str, Any], data: Any, use_api: bool, current: int) -> None:
    memos = {key: json.dumps({"data": value}, indent=1).encode() for key, value in steps.items()}
    events = [json.dumps({"name": "x", "data": data}).encode()] * 2
    call = request(steps=memos, stack=list(memos), current=current, events=events, use_api=use_api)
    cache: dict[bytes, bytes] = {}
    body = render_call(call, canonical=True, cache=cache)
    assert body == rfc8785.dumps(json.loads(body, parse_int=float)) == canonical_bytes(render_call(call))
    assert render_call(call, canonical=True, cache=cache) == body


@given(STEPS, st.integers(0, 5), st.integers(0, 20), st.booleans(), st.sampled_from(["step", A]))
def test_call_reads_back(steps: dict[str, Any], current: int, attempt: int, flag: bool, step_id: str) -> None:
    memos = {key: json.dumps({"data": value}).encode() for key, value in steps.items()}
    call = request(
        steps=memos, stack=list(memos), current=current, attempt=attempt, disable_immediate=flag, step_id=step_id
    )
    found = parse_call(render_call(call), "app-f", step_id)
    sent = list(memos)[:current]
    assert found == request(
        steps={key: memos[key] for key in sent},
        stack=sent,
        current=len(sent),
        attempt=attempt,
        disable_immediate=flag,
        step_id=step_id,
    )


def test_sparse_call_gets_the_defaults() -> None:
    found = parse_call(
        b'{"ctx":{"run_id":"r","stack":null,"x":1},"event":{"name":"a"},"events":null,"steps":null,"y":2}', "f"
    )
    assert (found.events, found.steps, found.stack, found.attempt, found.max_attempts) == (
        [b'{"name":"a"}'],
        {},
        [],
        0,
        5,
    )
    assert found.is_discovery
    nothing = parse_call(b'{"ctx":{"run_id":"r","stack":{"stack":null}},"event":{},"steps":{"a":1}}', "f", "")
    assert (nothing.stack, nothing.current) == (["a"], 1)


def test_current_never_exceeds_the_stack() -> None:
    found = parse_call(b'{"ctx":{"run_id":"r","stack":{"stack":["a"],"current":9}},"event":{},"steps":{"a":1}}', "f")
    assert found.current == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"ctx":{}}', b'{"ctx":{"run_id":5}}', b"[" * 100_000, b"\xff"])
def test_bad_call(body: bytes) -> None:
    with pytest.raises(BadCall, match="the call request can not be read"):
        parse_call(body, "f")


def test_headers_of_a_call() -> None:
    headers = call_headers(request(), "dev", "t=1&s=2")
    assert (headers["x-run-id"], headers["x-inngest-req-version"], headers["x-inngest-step-id"]) == (
        "01RUN",
        "-1",
        "step",
    )
    assert (headers["x-inngest-signature"], headers["x-inngest-generation-id"]) == ("t=1&s=2", "3")
    assert "x-inngest-signature" not in call_headers(request(generation=0), "dev")
    assert "x-inngest-generation-id" not in call_headers(request(generation=0), "dev")


def ops(body: bytes, status: int = 206, **headers: str) -> list[Op]:
    answer = parse_answer(status, SDK | {name.replace("_", "-"): value for name, value in headers.items()}, body)
    assert answer.kind is AnswerKind.OPS, answer
    return answer.ops


def test_returned() -> None:
    answer = parse_answer(200, SDK, b'{"a":1}')
    assert (answer.kind, answer.data, answer.req_version, answer.transport) == (
        AnswerKind.RETURNED,
        b'{"a":1}',
        2,
        False,
    )
    assert parse_answer(200, SDK, b"").data == b"null"


def test_ops() -> None:
    (op,) = ops(
        b'[{"op":"StepRun","id":"x","data":null,"error":null,"opts":{"a":1},"displayName":"d","userland":{"id":"q","index":null},'
        b'"timing":{"a":1},"rawArgs":[1],"mode":"sync"}]'
    )
    assert (op.op, op.id, op.display_name, op.userland, op.error) == ("StepRun", "x", "d", Userland("q", None), None)
    assert op.data is not None
    assert op.opts is not None
    assert (bytes(op.data), bytes(op.opts)) == (b"null", b'{"a":1}')


@pytest.mark.parametrize("body", [b"[]", b"null"])
def test_no_ops(body: bytes) -> None:
    assert ops(body) == []


def test_single_op_and_run_complete_stay_ops() -> None:
    (op,) = ops(b'{"op":"RunComplete","id":"x","data":{"r":1}}')
    assert op.op == "RunComplete"
    assert op.data is not None
    assert bytes(op.data) == b'{"r":1}'


@pytest.mark.parametrize("userland", ["5", '"x"', "[]", "null", '{"id":5,"index":"a"}', "{}"])
def test_odd_userland_does_no_harm(userland: str) -> None:
    (op,) = ops(f'[{{"op":"Sleep","id":"x","userland":{userland}}}]'.encode())
    assert op.op == "Sleep"


@pytest.mark.parametrize(
    "body", [b"[1]", b'[{"id":"x"}]', b'"x"', b"", b"[", b'[{"op":5}]', b"[" * 100_000, b'[{"op":"x","data":"\xff"}]']
)
def test_malformed_ops_are_a_transport_error(body: bytes) -> None:
    answer = parse_answer(206, SDK, body)
    assert answer.kind is AnswerKind.ERROR
    assert answer.transport
    assert answer.error is not None
    assert "the steps that the app reported can not be read" in answer.error.message


def test_function_errors() -> None:
    answer = parse_answer(
        400, SDK | {"x-inngest-no-retry": "true"}, b'{"name":"E","message":"m","stack":"s","__serialized":true}'
    )
    assert (answer.kind, answer.no_retry, answer.transport) == (AnswerKind.ERROR, True, False)
    assert answer.error == ErrorInfo(name="E", message="m", stack="s")
    again = parse_answer(
        500, SDK | {"x-inngest-no-retry": "False", "retry-after": "7"}, b'"{\\"name\\":\\"E\\",\\"message\\":\\"m\\"}"'
    )
    assert (again.no_retry, again.retry_after, again.error) == (False, "7", ErrorInfo(name="E", message="m"))
    plain = parse_answer(500, SDK, b'"just text"')
    assert (plain.no_retry, plain.error) == (None, ErrorInfo(message="just text"))


@pytest.mark.parametrize(
    ("status", "headers", "body", "says"),
    [
        (200, {"content-type": "text/html"}, b"<html>\n <body>hello", r"status 200 \(text/html\).*<html> <body>hello"),
        (502, {}, b"bad gateway", r"status 502 \(no content type\).*bad gateway"),
        (404, {}, b"", "its body is empty"),
        (401, SDK, b"{}", "the same signing key"),
        (404, SDK, b"{}", "nothing answers at the app's URL"),
        (413, SDK, b"{}", "body of this size"),
        (302, SDK, b"", "status 302"),
        (200, SDK, b"<html>", "return value can not be read"),
        (200, SDK, b"[" * 100_000, "nested too deeply"),
        (201, {"content-type": "text/plain"}, b"created", "did not come from an SDK"),
        (201, SDK, b"    ", "stream ended without an answer"),
        (201, SDK, b"[]", "stream ended without an answer"),
        (201, SDK, b'{"status":201,"body":""}', "stream ended without an answer"),
        (201, SDK, b'{"status":500,"error":"it broke"}', "stream ended with an error: it broke"),
    ],
)
def test_what_did_not_come_from_the_function(status: int, headers: dict[str, str], body: bytes, says: str) -> None:
    answer = parse_answer(status, headers, body)
    assert (answer.kind, answer.transport, answer.no_retry) == (AnswerKind.ERROR, True, None)
    assert answer.error is not None
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(answer.error.message)


def test_retry_after_of_a_proxy_counts() -> None:
    assert parse_answer(503, {"retry-after": "9"}, b"").retry_after == "9"


def test_answer_that_is_too_large_is_final() -> None:
    answer = parse_answer(200, SDK, b'"' + b"x" * MAX_ANSWER_BYTES + b'"')
    assert (answer.kind, answer.no_retry) == (AnswerKind.ERROR, True)


def stream(status: int, body: object, **headers: str) -> bytes:
    return b"   " + json.dumps({"status": status, "headers": headers, "body": body}).encode() + b"\n"


def test_streamed_answers() -> None:
    one = json.dumps([{"op": "Sleep", "id": "x", "name": "1s"}])
    assert ops(stream(206, one), 201) == ops(stream(206, json.dumps(one)), 201) == ops(one.encode())
    assert ops(stream(206, json.loads(one)), 201) == ops(one.encode())
    assert parse_answer(201, SDK, stream(200, '"{}"')).data == b'"{}"'
    error = parse_answer(
        201, {}, stream(400, '{"name":"E","message":"m"}', **{"X-Inngest-No-Retry": "true", "X-Inngest-Sdk": "s"})
    )
    assert (error.no_retry, error.error) == (True, ErrorInfo(name="E", message="m"))


@given(
    st.sampled_from([200, 201, 206, 400, 500, 404]),
    st.booleans(),
    st.binary(max_size=60) | JSONS.map(lambda v: json.dumps(v).encode()),
)
def test_no_answer_breaks_the_reader(status: int, sdk: bool, body: bytes) -> None:
    assert parse_answer(status, SDK if sdk else {}, body).kind in AnswerKind


RAWS = JSONS.map(lambda value: msgspec.Raw(json.dumps({"v": value}).encode()))
OPS = st.builds(
    Op,
    op=st.sampled_from(["StepRun", "Sleep", "Gateway", "StepError"]),
    id=st.text("0123456789abcdef", min_size=1),
    name=st.none() | st.text(st.characters(codec="utf-8")),
    display_name=st.none() | st.text(st.characters(codec="utf-8")),
    data=RAWS,
    opts=st.none() | RAWS,
    error=st.none() | RAWS,
    userland=st.none()
    | st.builds(Userland, id=st.text(st.characters(codec="utf-8")), index=st.none() | st.integers(0, 9)),
)


@given(st.lists(OPS, max_size=4), st.none() | st.booleans(), st.none() | st.just("5"))
def test_rendered_ops_read_back(found: list[Op], no_retry: bool | None, after: str | None) -> None:
    answer = Answer(kind=AnswerKind.OPS, ops=found, no_retry=no_retry, retry_after=after, req_version=2)
    status, headers, body = render_answer(answer)
    assert status == 206
    again = parse_answer(status, headers, body)
    assert render_answer(again) == (status, headers, body)
    assert [(op.op, op.id, op.name, op.userland) for op in again.ops] == [
        (op.op, op.id, op.name, op.userland) for op in found
    ]


def test_every_rendered_op_has_data() -> None:
    _, _, body = render_answer(Answer(kind=AnswerKind.OPS, ops=[Op(op="Sleep", id="x", name="1s")]))
    assert json.loads(body) == [{"op": "Sleep", "id": "x", "name": "1s", "data": None}]


@pytest.mark.parametrize(
    ("no_retry", "status", "header"), [(True, 400, "true"), (False, 500, "false"), (None, 500, "false")]
)
def test_rendered_errors(no_retry: bool | None, status: int, header: str) -> None:
    answer = Answer(kind=AnswerKind.ERROR, error=ErrorInfo(message="m"), no_retry=no_retry)
    found, headers, body = render_answer(answer)
    assert (found, headers["x-inngest-no-retry"]) == (status, header)
    assert json.loads(body) == {"name": "Error", "message": "m"}
    assert headers["x-inngest-sdk"].startswith("stepwell-py:v")


def test_rendered_return() -> None:
    status, headers, body = render_answer(Answer(kind=AnswerKind.RETURNED, data=b"5"))
    assert (status, body, headers["x-inngest-req-version"]) == (200, b"5", "2")


def test_ops_of_a_checkpoint() -> None:
    (op,) = parse_ops(b'[{"op":"StepRun","id":"a","data":1,"rawArgs":[],"hashedId":"h"}]')
    assert op.id == "a"
    with pytest.raises(ValueError, match="neither an array"):
        parse_ops(b"5")


def test_headers_by_lower_case_name() -> None:
    assert lower([("X-A", "1"), ("x-a", "2"), ("B", "3")]) == {"x-a": "2", "b": "3"}


@given(st.booleans(), st.booleans())
def test_edited_inputs_go_beside_the_memos(canonical: bool, ended: bool) -> None:
    """For a step that is on record the record is sent; what comes back is what was meant, and is in no stack."""
    call = CallRequest(
        function_id="a-f",
        run_id="R",
        events=[b'{"name":"go"}'],
        steps={"aa": b'{"data":1}', "bb": b'{"data":2}'},
        stack=["aa", "bb"],
        current=2 if ended else 1,
        inputs={"bb": b'[{"n":2},"x"]'},
    )
    body = render_call(call, canonical=canonical)
    sent = json.loads(body)["steps"]
    assert sent == {"aa": {"data": 1}, "bb": {"data": 2} if ended else {"input": [{"n": 2}, "x"]}}
    back = parse_call(body, "a-f")
    assert back.inputs == ({} if ended else call.inputs)
    assert list(back.steps) == list(back.stack) == (["aa", "bb"] if ended else ["aa"])


@pytest.mark.parametrize(
    "memo",
    ['{"input":1}', '{"input":[1],"data":2}', '{"inputs":[1]}', '["input"]', '"\\"input\\""', '{"data":{"input":[1]}}'],
)
def test_what_is_no_edited_input(memo: str) -> None:
    body = f'{{"ctx":{{"run_id":"R","stack":{{"stack":["aa"],"current":1}}}},"steps":{{"aa":{memo}}}}}'
    back = parse_call(body.encode(), "a-f")
    assert (back.inputs, back.steps) == ({}, {"aa": memo.encode()})


@pytest.mark.parametrize("status", [401, 403])
def test_who_refuses_a_signature_need_not_say_that_it_is_an_sdk(status: int) -> None:
    answer = parse_answer(status, {"content-type": "application/json"}, b'{"message":"Unauthorized"}')
    assert answer.transport
    assert answer.error is not None
    assert "both sides need the same signing key" in answer.error.message
