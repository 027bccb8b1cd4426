"""What a function declares of its starts, limits and schedules, and what of that is registered."""

from datetime import timedelta
from typing import Any

import inngest
import msgspec
import pytest

from stepwell import Client, Concurrency, ConfigError, Priority, Throttle, Timeouts, TriggerCron, TriggerEvent
from stepwell.wire.functions import parse_function


def declared(**options: Any) -> dict[str, Any]:
    client = Client("app")
    options = {"trigger": TriggerEvent("go"), **options}

    @client.create_function(fn_id="f", **options)
    async def f(ctx: Any) -> None:
        """Never called."""

    found = f.config("http://h/api")
    assert parse_function(msgspec.json.decode(msgspec.json.encode(found))).id == "app-f"
    return found


@pytest.mark.parametrize("period", ["90s", timedelta(seconds=90), 90_000])
def test_throttle_and_timeouts(period: Any) -> None:
    found = declared(throttle=Throttle(2, period, 3, "event.data.user"), timeouts=Timeouts(start=period, finish="1h"))
    assert found["throttle"] == {"limit": 2, "period": "90s", "burst": 3, "key": "event.data.user"}
    assert found["timeouts"] == {"start": "90s", "finish": "1h"}


def test_what_both_sdks_declare_is_registered_alike() -> None:
    theirs = inngest.Inngest(app_id="app", is_production=False)

    @theirs.create_function(
        fn_id="f",
        trigger=[inngest.TriggerCron(cron="TZ=Europe/Berlin 0 9 * * *", jitter="30s"), inngest.TriggerEvent(event="e")],
        concurrency=[inngest.Concurrency(limit=3)],
        priority=inngest.Priority(run="event.data.n"),
        retries=7,
        throttle=inngest.Throttle(limit=2, period=timedelta(minutes=1)),
        timeouts=inngest.Timeouts(start=10_000, finish=timedelta(hours=1)),
    )
    async def f(ctx: inngest.Context) -> None:
        """Never called."""

    ours = declared(
        trigger=[TriggerCron("TZ=Europe/Berlin 0 9 * * *", "30s"), TriggerEvent("e")],
        concurrency=[Concurrency(3)],
        priority=Priority("event.data.n"),
        retries=7,
        throttle=Throttle(2, timedelta(minutes=1)),
        timeouts=Timeouts(start=10_000, finish=timedelta(hours=1)),
        name="f",
    )
    asked: Any = f.get_config("http://h/api").main.to_dict()
    assert parse_function(ours) == parse_function({**asked, "name": "f"})


@pytest.mark.parametrize(
    ("given", "registered"),
    [(2, {"limit": 2}), (Concurrency(3, "event.data.x"), {"limit": 3, "key": "event.data.x"})],
)
def test_limits_of_steps_and_of_runs(given: Any, registered: dict[str, Any]) -> None:
    assert declared(concurrency=given)["concurrency"] == [registered]
    assert declared(run_concurrency=given)["concurrency"] == {"fn": [registered], "step": []}
    both = declared(run_concurrency=given, concurrency=[Concurrency(4), Concurrency(9, "'x'", "account")])[
        "concurrency"
    ]
    assert both == {"fn": [registered], "step": [{"limit": 4}, {"limit": 9, "key": "'x'", "scope": "account"}]}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"throttle": Throttle(0, "1m")}, "a throttle needs a limit of 1 or more"),
        ({"throttle": Throttle(1, 0)}, "a period above 0"),
        ({"throttle": Throttle(1, "soon")}, "'soon' is not a duration"),
        ({"throttle": Throttle(1, 1.5)}, "say its unit, such as '1.5s'"),  # type: ignore[arg-type]
        ({"fetch_throttle": Throttle(1, True)}, "say its unit"),
        ({"timeouts": Timeouts(start=0)}, "has a start timeout of nothing"),
        ({"timeouts": Timeouts(finish="x")}, "finish timeout that can not be read"),
        ({"concurrency": 0}, "1 is the least"),
        ({"run_concurrency": [1, 2, 3]}, "two are possible"),
        ({"run_concurrency": Concurrency(1, "'x'", "env")}, "it counts the function's own runs"),
        ({"retries": 21}, "0 to 20 are possible"),
        ({"retries": -1}, "0 to 20 are possible"),
        ({"trigger": TriggerCron("")}, "needs a trigger"),
        ({"trigger": TriggerCron("@daily", 2.5)}, "say its unit"),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(options: dict[str, Any], says: str) -> None:
    if isinstance(options.get("run_concurrency"), list):
        options = {"run_concurrency": [Concurrency(each) for each in options["run_concurrency"]]}
    with pytest.raises(ConfigError, match=says):
        declared(**options)


@pytest.mark.parametrize("retries", [0, 20])
def test_retries(retries: int) -> None:
    assert declared(retries=retries)["steps"]["step"]["retries"] == {"attempts": retries}
