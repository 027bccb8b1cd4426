"""A text is found in JSON as people see it, however it is escaped there."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.server.api.jsontexts import finder


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ('say "hi"', r'{"words":"Say \"Hi\""}'),
        (r"say \"hi\"", r'{"words":"say \"hi\""}'),
        (r"C:\new", r'{"path":"c:\\new\\x"}'),
        ("MÜNCHEN", r'"m\u00fcnchen"'),
        ("münchen", r'"M\u00DCNCHEN"'),
        ("münchen", '"M\u00dcNCHEN"'),
        (r"m\u00fcnchen", '"m\u00fcnchen"'),
        ("😀 done", r'"\ud83d\uDE00 done"'),
        ("a/b", r'"a\/b"'),
        ('"status": "ok"', '{"status":"ok"}'),
        ('"status":"ok"', '{"status": "ok"}'),
        ("cut", r'"cut \u00f'),
        ("cut", '"cut \\'),
    ],
)
def test_what_people_see_is_found(text: str, stored: str) -> None:
    assert finder(text)(stored)


@pytest.mark.parametrize(
    ("text", "stored"),
    [("x", r'"\\\t"'), ('say "hi"', '"say hi"'), ("u00fc", '"ü"'), ("a\nb", r'"a\\nb"')],
)
def test_what_is_not_there_is_not_found(text: str, stored: str) -> None:
    assert not finder(text)(stored)


@given(st.text(), st.text(), st.text(), st.booleans(), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_every_piece_of_a_string_is_found(
    before: str, text: str, after: str, ascii_only: bool, marks: tuple[str, str]
) -> None:
    stored = json.dumps({"a": before + text + after}, ensure_ascii=ascii_only, separators=marks)
    assert finder(text)(stored)
