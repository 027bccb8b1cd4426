"""What is recorded of a response, for our SDK and for others."""

import gzip
import json
import zlib
from typing import Any

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from stepwell.wire.constants import MAX_STEP_OUTPUT, MAX_TEXT_BODY
from stepwell.wire.fetch import FetchBroken, FetchResponse, Hop
from stepwell.wire.memos import BadMemo, error_memo, is_error, is_plain_response, memo, parse_memo

GZIP = (("Content-Encoding", "gzip"), ("Content-Type", "text/plain"))
latin = st.text(st.characters(max_codepoint=255), max_size=12)
headers = st.lists(st.tuples(latin, latin), max_size=4).map(tuple)
responses = st.builds(
    FetchResponse,
    status=st.integers(200, 599),
    url=st.just("http://h/"),
    headers=headers,
    body=st.binary(max_size=40) | st.text(max_size=10).map(str.encode),
    history=st.lists(st.builds(Hop, st.just(302), st.just("http://a/"), headers), max_size=2).map(tuple),
    http_version=st.sampled_from(["1.0", "1.1"]),
    elapsed_ms=st.integers(0, 10**6).map(float),
    reason=st.none() | latin,
)


def plain(body: bytes = b"text", status: int = 200, *pairs: tuple[str, str]) -> dict[str, Any]:
    return json.loads(memo(FetchResponse(status=status, url="http://h/x", headers=pairs, body=body), rich=False))


@given(responses)
def test_rich_memos_come_back_exactly(response: FetchResponse) -> None:
    assert parse_memo(memo(response, rich=True)) == (response, None)


@given(responses)
def test_bodies_beside_the_state_are_named(response: FetchResponse) -> None:
    data = memo(response, rich=True, body_ref="run.step")
    found, ref = parse_memo(data)
    assert (found.status, found.headers, found.body, ref) == (response.status, response.headers, b"", "run.step")
    assert json.loads(data)["data"].get("size", 0) == len(response.body)


@given(responses)
def test_plain_memos_are_data_or_error(response: FetchResponse) -> None:
    data = memo(response, rich=False)
    assert is_error(data) == ("error" in json.loads(data))


def test_plain_memo_is_what_the_protocol_says() -> None:
    pairs = (
        ("content-type", "text/plain"),
        ("x-A-b", "1"),
        ("X-a-B", "2"),
        ("Set-Cookie", "a=1"),
        ("set-cookie", "b=2"),
    )
    assert plain(b"h\xc3\xbc", 418, *pairs) == {
        "data": {
            "url": "http://h/x",
            "headers": {"Content-Type": "text/plain", "X-A-B": "1, 2", "Set-Cookie": "a=1, b=2"},
            "body": "h\u00fc",
            "status_code": 418,
        }
    }


@pytest.mark.parametrize("status", [204, 205, 304])
def test_no_body_is_null(status: int) -> None:
    assert plain(b"", status)["data"]["body"] is None
    assert plain(b"", 200)["data"]["body"] == ""


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(b"hello", mtime=0)),
        ("X-GZIP", gzip.compress(b"he", mtime=0) + gzip.compress(b"llo", mtime=0)),
        ("deflate", zlib.compress(b"hello")),
        ("deflate", zlib.compress(b"hello")[2:-4]),
        ("gzip, identity", gzip.compress(b"hello", mtime=0)),
        ("deflate, gzip", gzip.compress(zlib.compress(b"hello"), mtime=0)),
        ("identity", b"hello"),
        ("br", brotli.compress(b"hello")),
        ("zstd", zstd.compress(b"hello")),
        ("zstd", zstd.compress(b"he") + zstd.compress(b"llo")),
        ("br, zstd, gzip", gzip.compress(zstd.compress(brotli.compress(b"hello")), mtime=0)),
        ("gzip, br", brotli.compress(gzip.compress(b"hello", mtime=0))),
    ],
)
def test_encodings_are_undone_and_their_headers_removed(coding: str, packed: bytes) -> None:
    found = plain(packed, 200, ("Content-Encoding", coding), ("Content-Length", "9"), ("X", "y"))["data"]
    assert found["body"] == "hello"
    assert found["headers"] == {"X": "y"}


@pytest.mark.parametrize(
    ("coding", "packed", "words"),
    [
        ("zip", b"\xe4", "'zip'"),
        ("gzip", b"not gzip", "damaged"),
        ("gzip", gzip.compress(b"hello", mtime=0)[:-9], "damaged"),
        ("br", brotli.compress(b"hello" * 9)[:-3], "damaged"),
        ("br", b"hello", "damaged"),
        ("zstd", zstd.compress(b"hello")[:-3], "damaged"),
    ],
)
def test_what_can_not_be_decoded_is_an_error(coding: str, packed: bytes, words: str) -> None:
    found = plain(packed, 200, ("Content-Encoding", coding), ("Content-Type", "text/plain; charset=latin-1"))["error"]
    assert found["name"] == "GatewayError"
    assert words in found["message"]


def test_a_bomb_is_cut_where_it_is_decoded() -> None:
    """Long before it is whole: the limit of a step's text would come too late."""
    bomb = gzip.compress(bytes(MAX_TEXT_BODY + 1), mtime=0)
    assert (
        f"decodes to more than {MAX_TEXT_BODY} bytes"
        in plain(bomb, 200, ("Content-Encoding", "gzip"))["error"]["message"]
    )


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd, zip"])
def test_head_of_an_encoded_resource_has_no_body(coding: str) -> None:
    assert plain(b"", 200, ("Content-Encoding", coding))["data"]["body"] == ""
    assert plain(b"", 304, ("Content-Encoding", coding))["data"]["body"] is None


@pytest.mark.parametrize("coding", ["utf-8", "aws-chunked", "none"])
def test_text_with_a_coding_that_is_none_is_left_as_it_is(coding: str) -> None:
    found = plain("hall\u00f6".encode(), 200, ("content-encoding", coding), ("Content-Length", "6"))["data"]
    assert (found["body"], found["headers"]) == ("hall\u00f6", {"Content-Encoding": coding})


def test_binary_is_an_error_that_names_its_type() -> None:
    found = plain(b"\x89PNG\r\n", 200, ("Content-Type", "image/png; x=y"))["error"]
    assert found["name"] == "GatewayError"
    assert "image/png" in found["message"]
    assert "Python SDK" in found["message"]


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("text/plain; charset=ISO-8859-1", b"\xe4", "\u00e4"),
        ('text/plain; charset="utf-16"', "x\u20ac".encode("utf-16"), "x\u20ac"),
        ("text/plain; charset=nonsense", b"\xc3\xa4", "\u00e4"),
        ("text/plain; charset=hex", b"61", "61"),
        ("application/octet-stream", b"\xc3\xa4", "\u00e4"),
    ],
)
def test_text_is_read_in_its_charset(kind: str, body: bytes, text: str) -> None:
    assert plain(body, 200, ("content-type", kind))["data"]["body"] == text


@pytest.mark.parametrize(("rich", "name"), [(True, "FetchError"), (False, "GatewayError")])
def test_errors_say_kind_and_attempts(rich: bool, name: str) -> None:
    data = error_memo(FetchBroken(kind="dns", message="GET http://h: no."), 3, rich)
    assert is_error(data)
    said = {"name": name, "message": "GET http://h: no. (3 attempts)", "kind": "dns", "attempts": 3}
    assert json.loads(data) == {"error": {**said, "sent": False} if rich else said}
    left = error_memo(FetchBroken(kind="dns", message="GET http://h: no.", sent=True), 3, rich)
    assert json.loads(left) == {"error": said}


def test_a_plain_memo_of_another_server_is_read() -> None:
    data = b'{"data":{"url":"http://h","headers":{"A":"b"},"body":"x","status_code":201}}'
    response, ref = parse_memo(data)
    assert (response.status, response.headers, response.body, ref) == (201, (("A", "b"),), b"x", None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"{}",
        b'{"data":1}',
        b'{"data":{"status":"x"}}',
        b'{"error":{}}',
        b'{"data":{"status":200,"url":"\xff"}}',
        '{"data":{"status":200,"url":"u","b64":"ü"}}'.encode(),
    ],
)
def test_what_is_no_memo(data: bytes) -> None:
    with pytest.raises(BadMemo):
        parse_memo(data)


def test_text_larger_than_a_step_may_have_is_an_error_that_says_so() -> None:
    most = FetchResponse(status=200, url="u", body=b"x" * MAX_STEP_OUTPUT)
    assert not is_error(memo(most, rich=False))
    for body, headers in ((b"x" * (MAX_STEP_OUTPUT + 1), ()), (gzip.compress(bytes(MAX_TEXT_BODY + 1)), GZIP)):
        data = memo(FetchResponse(status=200, url="u", headers=headers, body=body), rich=False)
        assert is_error(data)
        message = json.loads(data)["error"]["message"]
        assert "more than" in message
    utf16 = ("ä" * (MAX_STEP_OUTPUT // 2 + 1)).encode("utf-16")
    kind = (("Content-Type", "text/plain; charset=utf-16"),)
    assert is_error(memo(FetchResponse(status=200, url="u", headers=kind, body=utf16), rich=False))


_HEADERS = (("text", '"history":'), ("ref", '"ref":'), ("b64", '"text":'))


@pytest.mark.parametrize("body", [b"", b'{"history":[],"ref":"x","text":1,"content-encoding":"gzip"}', b"\xff"])
@pytest.mark.parametrize(
    ("expected", "more"),
    [
        (True, {}),
        (False, {"headers": (*_HEADERS, ("CONTENT-encoding", "gzip"))}),
        (False, {"history": (Hop(302, "http://h/"),)}),
    ],
)
def test_a_plain_response_is_told_by_its_memo(body: bytes, expected: bool, more: dict[str, Any]) -> None:
    response = FetchResponse(**{"status": 200, "url": "http://h/", "headers": _HEADERS, "body": body, **more})
    assert is_plain_response(memo(response, rich=True)) is expected
    assert not is_plain_response(memo(response, rich=True, body_ref="x"))
    assert not is_plain_response(b'{"data":{"id":1}}')
    assert not is_plain_response(b"null")
