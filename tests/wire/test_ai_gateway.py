"""Requests to models: what is sent for an AIGateway op, and what is recorded of the answer."""

import gzip
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.wire.ai import ai_error, ai_memo, parse_ai_gateway, parse_ai_memo
from stepwell.wire.constants import MAX_STEP_OUTPUT
from stepwell.wire.fetch import FetchBroken, FetchRequest, FetchResponse
from stepwell.wire.gateway import BadGateway
from stepwell.wire.memos import BadMemo

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def asked(**options: Any) -> FetchRequest:
    return parse_ai_gateway(msgspec.json.encode({"url": "http://h/v1/x", "body": {"a": 1}, **options}))


def headers(request: FetchRequest) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in request.headers:
        found.setdefault(name.lower(), []).append(value)
    return found


def answered(body: bytes, status: int = 200, *pairs: tuple[str, str]) -> dict[str, Any]:
    return json.loads(ai_memo(FetchResponse(status=status, url="http://h/", headers=pairs, body=body)))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("openai-chat", "authorization", "Bearer k"),
        ("openai-responses", "authorization", "Bearer k"),
        ("anthropic", "x-api-key", "k"),
        ("bedrock", "authorization", "k"),
        ("something-new", "authorization", "Bearer k"),
        (None, "authorization", "Bearer k"),
    ],
)
def test_the_key_goes_where_its_provider_looks_for_it(kind: str | None, name: str, value: str) -> None:
    request = asked(auth_key="k", format=kind)
    assert headers(request) == {name: [value], "content-type": ["application/json"]}
    assert (request.method, request.url, request.body) == ("POST", "http://h/v1/x", b'{"a":1}')


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://h/x", "http://h/x?key=k%2F1"),
        ("http://h/x?alt=json&key=", "http://h/x?alt=json&key=k%2F1"),
        ("http://h/x?key=k%2F1", "http://h/x?key=k%2F1"),
        ("http://h/x?b=%20&b=2", "http://h/x?b=%20&b=2&key=k%2F1"),
    ],
)
def test_the_key_of_gemini_is_in_the_query_once(url: str, sent: str) -> None:
    request = asked(url=url, auth_key="k/1", format="gemini")
    assert request.url == sent
    assert set(headers(request)) == {"content-type"}


@pytest.mark.parametrize("kind", ["anthropic", "openai-chat", "bedrock"])
def test_no_header_is_sent_twice_and_the_users_own_stay(kind: str) -> None:
    own = {"AUTHORIZATION": "mine", "X-API-Key": "mine", "content-Type": "application/vnd.x+json"}
    assert headers(asked(auth_key="k", format=kind, headers=own)) == {name.lower(): [v] for name, v in own.items()}


def test_without_a_key_none_is_sent() -> None:
    assert set(headers(asked(auth_key="", format="anthropic"))) == {"content-type"}


def test_the_policy_headers_work_here_too() -> None:
    request = asked(headers={"stepwell-retries": "1", "stepwell-idempotency-key": "o-1"})
    assert (request.policy.attempts, request.policy.idempotency_key) == (2, "o-1")
    assert set(headers(request)) == {"content-type"}


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=5))
def test_the_body_is_sent_as_it_came(body: dict[str, Any]) -> None:
    text = json.dumps(body, indent=1).encode()
    request = parse_ai_gateway(b'{"url":"http://h/","body":' + text + b"}")
    assert request.body == text


@pytest.mark.parametrize(
    "opts",
    [
        b"[]",
        b"{",
        b'{"url":"http://h/"}',
        b'{"url":"http://h/","body":[1]}',
        b'{"url":"x","body":{}}',
        b'{"url":"http://h/","headers":{"a":1},"body":{}}',
        b'{"url":"http://h/","body":{"a":' + b"[" * 9_000,
    ],
)
def test_options_that_make_no_request_are_refused_in_one_sentence(opts: bytes) -> None:
    with pytest.raises(BadGateway, match=r"This request (to a model )?can not be made"):
        parse_ai_gateway(opts)


@given(JSON)
def test_an_answer_is_recorded_word_for_word(value: Any) -> None:
    text = json.dumps(value).encode()
    memo = ai_memo(FetchResponse(status=200, url="http://h/", body=text))
    assert memo == b'{"data":' + text + b"}"
    assert parse_ai_memo(memo).body == text
    packed = FetchResponse(status=201, url="", headers=(("Content-Encoding", "gzip"),), body=gzip.compress(text))
    assert ai_memo(packed) == memo


@pytest.mark.parametrize("status", [300, 304, 401, 429, 500])
def test_an_unsuccessful_answer_is_an_error_with_its_body(status: int) -> None:
    error = answered(b'{"error":{"type":"overloaded"}}', status)["error"]
    assert error == {
        "name": "AIGatewayError",
        "message": f"Error making AI request: unsuccessful status code: {status}",
        "data": {"error": {"type": "overloaded"}},
        "stack": '{"error":{"type":"overloaded"}}',
    }
    assert answered(b"slow down", status)["error"]["data"] == "slow down"
    assert len(json.dumps(answered(b"x" * 3_000_000, status))) < 200_000


@pytest.mark.parametrize(
    ("body", "pairs", "word"),
    [
        (b"<html>busy</html>", (("Content-Type", "text/html; charset=utf-8"),), "text/html"),
        (b"", (), "not JSON"),
        (b'{"a":1', (), "not JSON"),
        (b'{"a":"\xff"}', (), "UTF-8"),
        (b"data: {}\n\n", (("content-type", "text/event-stream"),), "'stream'"),
        (b"nonsense", (("Content-Encoding", "gzip"),), "can not be read"),
        (b"[" * 100_000, (), "deep"),
    ],
)
def test_a_success_that_is_no_json_is_a_clear_error(body: bytes, pairs: tuple[tuple[str, str], ...], word: str) -> None:
    error = answered(body, 200, *pairs)["error"]
    assert error["name"] == "AIGatewayError"
    assert word in error["message"]


def test_an_answer_over_the_limit_of_a_step_is_cut_off_while_it_arrives() -> None:
    assert asked().policy.max_body + len(b'{"data":}') == MAX_STEP_OUTPUT


def test_a_request_without_an_answer_says_why() -> None:
    memo = ai_error(FetchBroken(kind="dns", message="no such host"), 3)
    assert json.loads(memo)["error"] == {
        "name": "AIGatewayError",
        "message": "Error making AI request: no such host (3 attempts)",
        "kind": "dns",
        "attempts": 3,
    }
    with pytest.raises(BadMemo):
        parse_ai_memo(memo)
