"""Patterns: the same answers as the standard library's engine, in linear time."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.cel import ExpressionError
from stepwell.core.cel.patterns import search

PIECES = st.sampled_from(
    [
        "a",
        "b",
        ".",
        "[ab]",
        "[^a]",
        "[a-c]",
        r"\d",
        r"\D",
        r"\w",
        r"\W",
        r"\s",
        r"\S",
        r"[\w-]",
        r"[^\d]",
        r"[\W]",
        r"\.",
        "é",
        " ",
        "-",
        "1",
    ]
)
PATTERNS = st.recursive(
    PIECES | st.sampled_from(["^", r"\b"]),
    lambda inner: (
        st.tuples(inner, inner).map("".join)
        | st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})")
        | st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,}", "{0,2}", "*?"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        )
        | inner.map(lambda text: f"(?i:{text})")
    ),
    max_leaves=6,
)


@given(PATTERNS, st.text("abcABC1 .-é\n", max_size=8))
def test_same_as_the_standard_library(pattern: str, text: str) -> None:
    assert search(pattern, text) is (re.search(pattern, text, re.ASCII) is not None)


@pytest.mark.parametrize(
    ("pattern", "text", "wanted"),
    [
        ("", "", True),
        ("^$", "", True),
        ("a$", "a\n", False),
        ("(?m)^b$", "a\nb\nc", True),
        ("^b$", "a\nb\nc", False),
        ("(?s)a.b", "a\nb", True),
        ("a.b", "a\nb", False),
        ("(?i)STRASSE", "strasse", True),
        ("(?i)a(?-i)b", "Ab", True),
        ("(?i)a(?-i)b", "AB", False),
        ("(?P<year>\\d{4})-(?<month>\\d\\d)", "2024-05", True),
        ("[[:alpha:]]+", "1x", True),
        ("[^[:alpha:]]", "xy", False),
        ("[]a]", "]", True),
        ("[a-]", "-", True),
        ("[\\]]", "]", True),
        ("\\x41\\x{1F600}", "A😀", True),
        ("a{,2}", "a{,2}", True),
        ("x{2,3}$", "xxxx", True),
        ("^x{2,3}$", "xxxx", False),
        ("\\Aab\\z", "ab", True),
        ("(|a)b", "b", True),
        ("()*", "", True),
        (r"\B", "", True),
        (r"a\Bb", "ab", True),
        (r"a\B", "a", False),
        (r"^[\w.+-]+@[\w-]+\.[\w.]+$", "someone@example.com", True),
    ],
)
def test_table(pattern: str, text: str, wanted: bool) -> None:
    assert search(pattern, text) is wanted


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        ")",
        "a)",
        "[",
        "[a",
        "[z-a]",
        "*",
        "a**",
        "a{1001}",
        "a{3,2}",
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?<!a)",
        r"(a)\1",
        "\\",
        r"\pL",
        "[[:nope:]]",
        r"\xzz",
        "(?z)",
        "(" * 41 + ")" * 41,
        "(?:a{1000}){1000}",
        "(?P<x",
    ],
)
def test_bad_patterns_are_named(pattern: str) -> None:
    with pytest.raises(ExpressionError, match="pattern"):
        search(pattern, "a")


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*)*x", "(a*)*(a*)*(a*)*b"])
def test_patterns_that_explode_elsewhere_do_not_here(pattern: str) -> None:
    assert search(pattern, "a" * 2_000 + "!") is False


def test_work_is_bounded() -> None:
    with pytest.raises(ExpressionError, match="takes too long"):
        search("(a?){500}b", "a" * 100_000)
