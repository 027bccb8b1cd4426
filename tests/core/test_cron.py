"""Schedules: what can be written, when they come, also over changes of the clocks, and which ticks are due."""

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.cron import LATE_MS, Agenda, Cron, Tick, crons_of, next_runs, next_tick, problem, tick_event
from stepwell.core.triggers import problems
from stepwell.wire.functions import FunctionConfig, Trigger


def at(text: str, zone: str = "UTC") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def shown(cron: str, after: str, count: int = 3, zone: str = "UTC") -> list[str]:
    """The next runs, as the clock on the wall shows them, with the offset."""
    ticks = next_runs(Cron("f", cron), at(after, zone), count)
    times = [datetime.fromtimestamp(tick.fires_at / 1000, ZoneInfo(zone)) for tick in ticks]
    return [f"{time:%m-%d %H:%M%z}" for time in times]


@pytest.mark.parametrize(
    ("cron", "first"),
    [
        ("0 9 * * 1-5", "01-05 09:00+0000"),
        ("*/20 * * * *", "01-03 12:20+0000"),
        ("15 10 ? * MON#2", "01-12 10:15+0000"),
        ("0 0 L * *", "01-31 00:00+0000"),
        ("@hourly", "01-03 13:00+0000"),
        ("@daily", "01-04 00:00+0000"),
        ("@midnight", "01-04 00:00+0000"),
        ("@weekly", "01-04 00:00+0000"),
        ("@monthly", "02-01 00:00+0000"),
        ("@yearly", "01-01 00:00+0000"),
        ("TZ=Asia/Tokyo 0 9 * * *", "01-04 00:00+0000"),
        ("CRON_TZ=America/New_York @daily", "01-04 05:00+0000"),
    ],
)
def test_what_can_be_written(cron: str, first: str) -> None:
    assert problem(cron) is None
    assert shown(cron, "2026-01-03 12:00", 1) == [first]


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("61 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * * *", "4 fields, not five"),
        ("* * * * * *", "6 fields, not five"),
        ("", "0 fields, not five"),
        ("@often", "'@often' is none of @yearly"),
        ("@every 5m", "2 fields, not five"),
        ("TZ=Mars/Base 0 9 * * *", "no time zone 'Mars/Base'"),
        ("TZ=../../etc/passwd 0 9 * * *", "no time zone"),
        ("TZ= 0 9 * * *", "no time zone ''"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("* * */20 * 1L", "never comes"),
    ],
)
def test_what_can_not_be_read_is_told_in_a_sentence(cron: str, says: str) -> None:
    found = problem(cron)
    assert found is not None
    assert says in found
    config = FunctionConfig(id="f", name="f", triggers=(Trigger(cron=cron), Trigger(cron="@daily")))
    assert [sentence.startswith("function 'f': cron") for sentence in problems(config)] == [True]
    assert crons_of(config) == [Cron("f", "@daily")]


BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


@pytest.mark.parametrize(
    ("zone", "cron", "after", "times"),
    [
        # the clocks go forward: what is skipped comes when the clock has jumped
        (BERLIN, "30 2 * * *", "2026-03-28 12:00", ["03-29 03:00+0200", "03-30 02:30+0200"]),
        (NEW_YORK, "30 2 * * *", "2026-03-07 12:00", ["03-08 03:00-0400", "03-09 02:30-0400"]),
        (BERLIN, "0 9 * * *", "2026-03-28 12:00", ["03-29 09:00+0200", "03-30 09:00+0200"]),
        (BERLIN, "0 * * * *", "2026-03-29 00:30", ["03-29 01:00+0100", "03-29 03:00+0200", "03-29 04:00+0200"]),
        # they go back: what is there twice comes once, what comes each hour goes by the time that passes
        (BERLIN, "30 2 * * *", "2026-10-24 12:00", ["10-25 02:30+0200", "10-26 02:30+0100"]),
        (NEW_YORK, "30 1 * * *", "2026-10-31 12:00", ["11-01 01:30-0400", "11-02 01:30-0500"]),
        (BERLIN, "0 * * * *", "2026-10-25 01:30", ["10-25 02:00+0200", "10-25 02:00+0100", "10-25 03:00+0100"]),
        (NEW_YORK, "*/30 * * * *", "2026-11-01 00:45", ["11-01 01:00-0400", "11-01 01:30-0400", "11-01 01:00-0500"]),
        (BERLIN, "0 9 * * *", "2026-10-24 12:00", ["10-25 09:00+0100", "10-26 09:00+0100"]),
    ],
)
def test_changes_of_the_clocks(zone: str, cron: str, after: str, times: list[str]) -> None:
    assert shown(f"TZ={zone} {cron}", after, len(times), zone) == times


@pytest.mark.parametrize("minute", range(0, 60, 7))
def test_in_the_hour_that_comes_again_nothing_lies_in_the_past(minute: int) -> None:
    again = datetime(2026, 10, 25, 2, minute, tzinfo=ZoneInfo(BERLIN), fold=1)
    now = round(again.timestamp() * 1000)
    tick = next_tick(Cron("f", f"TZ={BERLIN} 30 2 * * *"), now)
    assert tick is not None
    assert tick.fires_at == at("2026-10-26 02:30", BERLIN)


fields = st.sampled_from(
    ["* * * * *", "*/7 * * * *", "30 2 * * *", "0 */3 * * *", "15,45 1-3 * * *", "0 0 L * *", "@hourly"]
)
zones = st.sampled_from(
    ["", "TZ=Europe/Berlin ", "TZ=America/New_York ", "TZ=Australia/Lord_Howe ", "TZ=Asia/Kathmandu "]
)
moments = st.one_of(
    st.integers(at("2026-03-28 00:00"), at("2026-03-30 00:00")),
    st.integers(at("2026-10-24 00:00"), at("2026-11-02 00:00")),
    st.integers(0, at("2090-01-01 00:00")),
)
jitters = st.sampled_from([0, 1_000, 1_001, 30_000, 300_000])


@given(fields, zones, moments, jitters)
def test_ticks_only_ever_go_forward_and_the_jitter_keeps_its_bounds(
    field: str, zone: str, after: int, jitter: int
) -> None:
    cron = Cron("f", zone + field, jitter)
    last = after
    for tick in next_runs(cron, after, 4):
        assert tick.fires_at > last
        late = tick.fires_at - tick.scheduled_at
        assert late == 0 if not jitter else 1_000 <= late < max(jitter, 1_001)
        last = tick.fires_at
        assert next_tick(cron, tick.fires_at - 1) == tick, "from just before, it is the next"


def test_the_jitter_is_the_same_everywhere_and_differs_between_functions() -> None:
    offs = {
        (name, tick.fires_at - tick.scheduled_at)
        for name in ("f", "g")
        for _ in range(2)
        for tick in next_runs(Cron(name, "@daily", 300_000), 0, 5)
    }
    assert len(offs) == 10


def test_the_event_of_a_tick() -> None:
    cron = Cron("app-f", "TZ=Europe/Berlin 0 9 * * *", 60_000)
    event = tick_event(cron, Tick(at("2026-07-01 07:00"), at("2026-07-01 07:00") + 1_250))
    assert (event.name, event.event_id, event.function_id) == (
        "inngest/scheduled.timer",
        "2026-07-01T07:00:00Z",
        "app-f",
    )
    assert msgspec.json.decode(event.data) == {
        "cron": "TZ=Europe/Berlin 0 9 * * *",
        "scheduledAt": "2026-07-01T07:00:00Z",
        "fireAt": "2026-07-01T07:00:01.250Z",
    }


# which ticks are due

MINUTE = Cron("f", "* * * * *")
START = at("2026-01-01 00:00") + 30_000


@given(st.lists(st.integers(1, 59_000), min_size=1, max_size=60), jitters)
def test_each_tick_is_due_once_however_often_one_looks(gaps: list[int], jitter: int) -> None:
    cron = Cron("f", "* * * * *", jitter)
    agenda, now, seen = Agenda(), START, list[int]()
    agenda.update({cron: now})
    for gap in gaps:
        now += gap
        due = agenda.due(now)
        assert all(now - LATE_MS < tick.fires_at <= now for _, tick in due)
        seen += [tick.fires_at for _, tick in due]
        agenda.passed(now)
        following = agenda.next_at()
        assert following is not None
        assert following > now
    expected = [tick.fires_at for tick in next_runs(cron, START, len(gaps) + 10) if tick.fires_at <= now]
    assert seen == expected


@given(st.lists(st.integers(-(10**10), 10**10), min_size=1, max_size=20))
def test_whatever_the_clock_does_the_next_tick_is_near(jumps: list[int]) -> None:
    agenda, now = Agenda(), at("2026-06-01 00:00")
    agenda.update({MINUTE: now})
    for jump in jumps:
        now = max(0, now + jump)
        assert len(agenda.due(now)) <= 1, "what was missed is not made up for"
        agenda.passed(now)
        following = agenda.next_at()
        assert following is not None
        assert now < following <= now + 60_000


def test_what_could_not_be_stored_is_due_again() -> None:
    agenda = Agenda()
    agenda.update({MINUTE: START})
    first = agenda.due(START + 30_000)
    assert [tick.scheduled_at for _, tick in first] == [START + 30_000]
    assert agenda.due(START + 35_000) == first
    assert agenda.due(START + 30_000 + LATE_MS) != first


def test_crons_that_come_and_go() -> None:
    agenda, daily = Agenda(), Cron("g", "@daily")
    assert agenda.next_at() is None
    agenda.update({MINUTE: START})
    agenda.passed(START + 40_000)
    agenda.update({MINUTE: START + 50_000, daily: START + 50_000})
    assert [cron for cron, _ in agenda.due(START + 90_000)] == [MINUTE], "from where it was"
    agenda.update({daily: 0})
    assert agenda.due(START + 90_000) == []
    assert agenda.next_at() == at("2026-01-02 00:00")
