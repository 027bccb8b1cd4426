"""Retry-After and dates in every form, and garbage in none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.wire.dates import http_date_ms, rfc3339_ms
from stepwell.wire.retry_after import MAX_RETRY_AFTER_MS, parse_millis, parse_reset, parse_retry_after

NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    "text",
    [
        "Tue, 14 Nov 2023 22:13:30 GMT",
        "tue, 14 nov 2023 22:13:30 gmt",
        "Tuesday, 14-Nov-23 22:13:30 GMT",
        "Tue Nov 14 22:13:30 2023",
        "2023-11-14T22:13:30Z",
        "2023-11-14T23:13:30+01:00",
        "10",
        " 10 ",
    ],
)
def test_ten_seconds_in_every_form(text: str) -> None:
    assert parse_retry_after(text, NOW) == 10_000
    assert parse_reset(text, NOW) == 10_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "-1",
        "1e3",
        "Tue, 31 Feb 2023 22:13:30 GMT",
        "Tue, 14 Foo 2023 22:13:30 GMT",
        "2023-11-14",
        "0x10",
        "nan",
        "inf",
    ],
)
def test_garbage_is_none(text: str) -> None:
    assert parse_retry_after(text, NOW) is None
    assert parse_reset(text, NOW) is None
    assert parse_millis(text) is None


def test_bounds() -> None:
    assert parse_retry_after("0", NOW, at_least_ms=1000) == 1000
    assert parse_retry_after("Tue, 14 Nov 2000 22:13:30 GMT", NOW) == 0
    assert parse_retry_after("9" * 18, NOW) == MAX_RETRY_AFTER_MS
    assert parse_millis("250") == 250


def test_years_of_two_digits_are_near() -> None:
    assert http_date_ms("Sunday, 06-Nov-94 08:49:37 GMT", NOW) == 784_111_777_000
    assert http_date_ms("Sun, 06 Nov 1994 08:49:37 GMT", NOW) == 784_111_777_000
    assert http_date_ms("Tue, 30 Jun 2015 23:59:60 GMT", NOW) is not None


def test_fractions_of_a_second() -> None:
    assert rfc3339_ms("1970-01-01T00:00:01.25Z") == 1250


@given(st.text(max_size=40), st.integers(0, 4_000_000_000_000))
def test_any_text_is_none_or_in_bounds(text: str, now: int) -> None:
    for found in (parse_retry_after(text, now), parse_reset(text, now), parse_millis(text)):
        assert found is None or 0 <= found <= MAX_RETRY_AFTER_MS
