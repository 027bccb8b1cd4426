"""Durations: the protocol's grammar, dates, and what users may give."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.wire.durations import format_duration, parse_duration, parse_duration_or_date, to_ms

NOW = 1_700_000_000_000
UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("", 0),
        ("0", 0),
        ("0s", 0),
        ("90s", 90_000),
        ("1d2h30m", 95_400_000),
        ("1.5h", 5_400_000),
        ("1.1s", 1_100),
        ("500ms", 500),
        ("1us", 1),
        ("1ns", 1),
        ("1000000ns", 1),
        ("1µs999999ns", 2),
        ("1w", 604_800_000),
        ("2m5s10ms", 125_010),
    ],
)
def test_duration_is_read(text: str, ms: int) -> None:
    assert parse_duration(text) == ms


@pytest.mark.parametrize(
    "text", ["5", "s", "1 s", "1s ", "-1s", "1y", "1S", "1.s", ".5s", "1s2", "x1s", "1s" * 51, "١s"]
)
def test_bad_duration_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(sorted(UNITS))), max_size=8))
def test_concatenated_parts_add_up(parts: list[tuple[int, str]]) -> None:
    assert parse_duration("".join(f"{n}{unit}" for n, unit in parts)) == sum(n * UNITS[unit] for n, unit in parts)


@given(st.integers(-5, 10**12))
def test_formatted_duration_reads_back(ms: int) -> None:
    assert parse_duration(format_duration(ms)) == max(0, ms)


@pytest.mark.parametrize(("ms", "text"), [(90_000, "90s"), (500, "500ms"), (1_500, "1500ms"), (0, "0s"), (-3, "0s")])
def test_form(ms: int, text: str) -> None:
    assert format_duration(ms) == text


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("2023-11-14T22:13:30Z", 10_000),
        ("2023-11-14T22:13:20.500Z", 500),
        ("2023-11-14T23:13:30+01:00", 10_000),
        ("2023-11-14T22:13:30", 10_000),
        ("2001-01-01T00:00:00Z", 0),
        ("2023-11-15", 6_400_000),
        ("10s", 10_000),
        ("1000000000ms", 1_000_000_000),
        ("-5s", 0),
        ("", 0),
    ],
)
def test_delay_of_duration_or_date(text: str, delay: int) -> None:
    assert parse_duration_or_date(text, NOW) == delay


@given(st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001
def test_any_instant_is_a_delay(naive: datetime) -> None:
    instant = naive.replace(tzinfo=UTC)
    wanted = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) - NOW
    assert parse_duration_or_date(instant.isoformat(), NOW) == max(0, wanted)


@pytest.mark.parametrize("text", ["2023-13-45T00:00:00Z", "tomorrow at ten", "-x", "2023-11"])
def test_neither_duration_nor_date(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration_or_date(text, NOW)


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (2, 2_000),
        (0.5, 500),
        (0, 0),
        (0.1, 100),
        (1e-7, 1),
        (timedelta(minutes=1), 60_000),
        ("1h", 3_600_000),
        (0.3, 300),
    ],
)
def test_what_users_give(value: float | timedelta | str, ms: int) -> None:
    assert to_ms(value) == ms


@pytest.mark.parametrize("value", [-1, -0.5, float("inf"), float("nan"), timedelta(seconds=-1), "soon"])
def test_what_users_can_not_give(value: float | timedelta | str) -> None:
    with pytest.raises(ValueError, match="duration"):
        to_ms(value)


@pytest.mark.parametrize("value", [None, True, [1]])
def test_other_types_are_no_durations(value: object) -> None:
    with pytest.raises(TypeError, match="a duration is seconds"):
        to_ms(value)  # type: ignore[arg-type]
