"""Slips in what is declared: each is a ConfigError, in one sentence that says what to write."""

from typing import Any

import pytest

from stepwell import (
    Batch,
    Cancel,
    Client,
    Concurrency,
    ConfigError,
    Debounce,
    Middleware,
    Priority,
    RateLimit,
    Singleton,
    Throttle,
    Timeouts,
    TriggerCron,
    TriggerEvent,
)
from stepwell.testing import run_function


def declared(**options: Any) -> Any:
    client = Client("app", is_production=False)
    return client.create_function(**{"fn_id": "f", "trigger": TriggerEvent("go"), **options})(handler)


async def handler(ctx: Any) -> str:
    return "ran"


SLIPS: list[tuple[dict[str, Any], str]] = [
    ({"retries": "3"}, "retries='3': 0 to 20 are possible"),
    ({"retries": 1.5}, "retries=1.5"),
    ({"retries": True}, "retries=True"),
    ({"fn_id": 5}, "needs a fn_id, a text"),
    ({"fn_id": " "}, "needs a fn_id, a text"),
    ({"name": 5}, "its name is a text, and 5 is none"),
    ({"trigger": TriggerEvent(5)}, "trigger has event=5, and needs a text"),  # type: ignore[arg-type]
    ({"trigger": TriggerEvent("*")}, "a pattern ends in"),
    ({"trigger": TriggerEvent("a", schema="Order")}, "schema='Order', which is no type"),  # type: ignore[arg-type]
    ({"trigger": TriggerEvent("a", schema={"a": int})}, "which is no type"),  # type: ignore[arg-type]
    ({"trigger": TriggerEvent("a", schema=int)}, "which is no type for an event's data"),
    ({"trigger": TriggerCron("nope")}, "has to have five fields"),
    ({"trigger": TriggerCron("@daily", "1h")}, "between 1 s and 300 s"),
    ({"concurrency": "3"}, r"takes a Concurrency\(...\), not '3'"),
    ({"concurrency": True}, "needs a whole number"),
    ({"concurrency": Concurrency(1, scope="x")}, "needs 'fn' or 'env' or 'account'"),  # type: ignore[arg-type]
    ({"concurrency": Concurrency(1, scope="env")}, "needs a key"),
    ({"throttle": 5}, r"takes a Throttle\(...\), not 5"),
    ({"throttle": Throttle("1", "1m")}, "limit='1', and needs a whole number"),  # type: ignore[arg-type]
    ({"throttle": Throttle(1, -5)}, "less than nothing"),
    ({"priority": "event.data.x"}, r"takes a Priority\(...\)"),
    ({"priority": Priority(5)}, "run=5, and needs a text"),  # type: ignore[arg-type]
    ({"timeouts": "1h"}, r"takes a Timeouts\(...\)"),
    ({"timeouts": Timeouts(start=-5)}, "less than nothing"),
    ({"rate_limit": 5}, r"takes a RateLimit\(...\)"),
    ({"rate_limit": RateLimit(1, "1h", key=7)}, "key=7, and needs a text or None"),  # type: ignore[arg-type]
    ({"idempotency": 5}, "idempotency is an expression"),
    ({"debounce": "10s"}, r"takes a Debounce\(...\)"),
    ({"debounce": Debounce(1.5)}, "say its unit"),  # type: ignore[arg-type]
    ({"batch_events": 5}, r"takes a Batch\(...\)"),
    ({"batch_events": Batch("10")}, "needs a whole number"),  # type: ignore[arg-type]
    ({"singleton": "skip"}, r"takes a Singleton\(...\)"),
    ({"singleton": Singleton("x")}, "needs 'skip' or 'cancel'"),  # type: ignore[arg-type]
    ({"cancel": "stop"}, r"takes a list, \[Cancel\(...\)\]"),
    ({"cancel": Cancel("stop")}, r"takes a list, \[Cancel\(...\)\]"),
    ({"cancel": [None]}, "None in its list"),
    ({"cancel": [Cancel("")]}, "event is missing"),
    ({"cancel": [Cancel("stop")] * 6}, "more than 5"),
    ({"cancel": [Cancel("stop", timeout="soon")]}, "'soon' is not a duration"),
    ({"cancel": [Cancel("stop", timeout=1.5)]}, "say the unit"),  # type: ignore[arg-type]
    ({"on_failure": "x"}, "as does on_failure, and 'x' is none"),
    ({"middleware": "x"}, "is a list, such as"),
    ({"middleware": [5]}, "5 is neither"),
    ({"output_type": "Order"}, "output_type='Order', which is no type"),
]


@pytest.mark.parametrize(("options", "says"), SLIPS, ids=[f"{next(iter(slip[0]))}-{n}" for n, slip in enumerate(SLIPS)])
def test_a_slip_in_an_option_is_told(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as told:
        declared(**options)
    assert str(told.value).count("\n") == 0


def test_what_the_official_sdk_may_leave_empty_may_be_none() -> None:
    assert declared(batch_events=Batch(2, None)).config("http://h")["batchEvents"]["timeout"] == "1m"
    assert declared(throttle=Throttle(1, "1m", None)).config("http://h")["throttle"]["limit"] == 1
    assert declared(concurrency=[5]).config("http://h")["concurrency"] == [{"limit": 5}]


def generator(ctx: Any) -> Any:
    yield 1


async def async_generator(ctx: Any) -> Any:
    yield 1


async def three(ctx: Any, step: Any, more: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (5, "decorates a function"),
        (generator, "has a yield"),
        (async_generator, "has a yield"),
        (three, "takes more than ctx and step"),
    ],
)
def test_what_is_no_function_is_refused(function: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Client("app").create_function(fn_id="f", trigger=TriggerEvent("go"))(function)


def test_a_function_is_neither_declared_twice_nor_called() -> None:
    function: Any = declared()
    with pytest.raises(ConfigError, match="'g' decorates 'f', which has been declared"):
        Client("app").create_function(fn_id="g", trigger=TriggerEvent("go"))(function)
    with pytest.raises(TypeError, match="'f' is not called: it is started by its trigger"):
        function()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"app_id": 5}, "needs an app_id"),
        ({"middleware": Middleware}, "is a list, such as"),
        ({"is_production": "false"}, "say True or False"),
        ({"request_timeout": "5s"}, "give milliseconds or a timedelta"),
    ],
)
def test_a_slip_in_a_setting_is_told(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        _ = Client(**{"app_id": "app", **settings}).config


def test_an_id_may_have_any_characters() -> None:
    function = declared(fn_id="a b/c?d&e=ü")
    assert "fnId=app-a%20b%2Fc%3Fd%26e%3D%C3%BC&stepId=step" in str(function.config("http://h/api"))
    assert run_function(function).output == "ran"
