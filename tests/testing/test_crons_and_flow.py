"""``run_function`` with functions that a schedule starts, and with rules of when runs start."""

from datetime import UTC, datetime
from typing import Any

import pytest

import stepwell
from stepwell.testing import run_function
from stepwell.wire.functions import BadRegistration

client = stepwell.Client(app_id="shop")
START = datetime(2026, 3, 1, 9, tzinfo=UTC)


@client.create_function(
    fn_id="report",
    trigger=[stepwell.TriggerCron("TZ=Europe/Berlin 0 9 * * *"), stepwell.TriggerEvent("report.asked")],
    throttle=stepwell.Throttle(limit=1, period="1h"),
    priority=stepwell.Priority("120"),
    run_concurrency=1,
)
async def report(ctx: stepwell.Context) -> Any:
    await ctx.step.sleep("a day", "26h")
    return [ctx.event.name, ctx.event.data]


@client.create_function(
    fn_id="slow", trigger=stepwell.TriggerEvent("slow"), timeouts=stepwell.Timeouts(start="1m", finish="1h")
)
async def slow(ctx: stepwell.Context) -> str:
    await ctx.step.sleep("first", "50m")
    if ctx.event.data.get("more"):
        await ctx.step.sleep("second", "50m")
    return "done"


def test_a_schedule_starts_the_function_with_the_event_of_a_tick() -> None:
    outcome = run_function(report, start=START)
    at = "2026-03-01T09:00:00Z"
    data = {"cron": "TZ=Europe/Berlin 0 9 * * *", "scheduledAt": at, "fireAt": at}
    assert outcome.output == ["inngest/scheduled.timer", data]
    assert outcome.elapsed.total_seconds() == 26 * 3600


def test_an_event_starts_it_as_well() -> None:
    outcome = run_function(report, event={"name": "report.asked", "data": {"a": 1}})
    assert outcome.output == ["report.asked", {"a": 1}]


def test_the_time_of_a_run_is_virtual_too() -> None:
    assert run_function(slow).output == "done"
    late = run_function(slow, data={"more": True})
    assert late.status == "cancelled"
    assert late.error is not None
    assert late.error.message == "the run had not finished within 1h of its start (its finish timeout)"
    assert late.elapsed.total_seconds() == 3600


def test_a_schedule_that_can_not_be_read_is_told() -> None:
    @stepwell.Client(app_id="bad").create_function(fn_id="f", trigger=stepwell.TriggerCron("0 25 * * *"))
    async def f(ctx: stepwell.Context) -> None:
        """Never called."""

    with pytest.raises(BadRegistration, match="bad hour"):
        run_function(f)
