"""Error objects: read leniently, written with their names."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.wire.answers import render_error
from stepwell.wire.errors import ErrorInfo, parse_error


def test_error_object_is_read() -> None:
    error = parse_error(b'{"name":"E","message":"m","stack":"s","cause":{"name":"C"},"code":"c","attempts":2,"x":1}')
    assert (error.name, error.message, error.stack, error.code, error.attempts) == ("E", "m", "s", "c", 2)
    assert error.cause is not None
    assert json.loads(bytes(error.cause)) == {"name": "C"}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (None, "Function execution error"),
        (b"", "Function execution error"),
        (b"null", "Function execution error"),
        (b"[1]", "Function execution error"),
        (b'"it broke"', "it broke"),
        (b"<h1>it broke</h1>", "<h1>it broke</h1>"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b'{"error":"text"}', "text"),
        (b'{"name":5,"message":[]}', "Function execution error"),
    ],
)
def test_anything_is_an_error(raw: bytes | None, message: str) -> None:
    error = parse_error(raw)
    assert (error.name, error.message) == ("Error", message)


def test_deep_nesting_is_an_error_like_any_other() -> None:
    assert parse_error(b"[" * 100_000).name == "Error"


@given(st.binary(max_size=60))
def test_no_bytes_can_break_it(raw: bytes) -> None:
    assert parse_error(raw).name


def test_name_and_message_are_always_written() -> None:
    assert json.loads(msgspec.json.encode(ErrorInfo())) == {"name": "Error", "message": ""}
    assert json.loads(render_error(ErrorInfo(message="m"))) == {"name": "Error", "message": "m"}


TEXTS = st.none() | st.text(st.characters(codec="utf-8"), min_size=1)


@given(
    st.fixed_dictionaries(
        {"name": st.text(st.characters(codec="utf-8"), min_size=1), "stack": TEXTS, "code": TEXTS, "kind": TEXTS}
    )
)
def test_written_error_reads_back(members: dict[str, Any]) -> None:
    error = ErrorInfo(message="m", data=msgspec.Raw(b'{"a":[1]}'), **members)
    again = parse_error(render_error(error))
    assert render_error(again) == render_error(error)
