"""What users say of the events that start a function, as it is registered, and what they can not say."""

from datetime import timedelta
from typing import Any

import pytest

import stepwell
from stepwell.wire.functions import parse_function


def declared(**settings: Any) -> dict[str, Any]:
    client = stepwell.Client("app", is_production=False)

    @client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="x"), **settings)
    async def f(ctx: stepwell.Context) -> None: ...

    config = f.config("")
    parse_function(config)
    return config


def test_they_are_registered_as_the_protocol_has_them() -> None:
    config = declared(
        rate_limit=stepwell.RateLimit(limit=2, period=timedelta(minutes=1), key="event.data.k"),
        debounce=stepwell.Debounce(period="10s", timeout=60_000),
        singleton=stepwell.Singleton(mode="cancel"),
        idempotency="event.data.id",
    )
    assert config["rateLimit"] == {"limit": 2, "period": "1m", "key": "event.data.k"}
    assert config["debounce"] == {"period": "10s", "timeout": "1m"}
    assert config["singleton"] == {"mode": "cancel"}
    assert config["idempotency"] == "event.data.id"
    batch = declared(
        batch_events=stepwell.Batch(max_size=9, timeout="1m", key="event.data.k", if_exp="event.data.n > 1")
    )
    assert batch["batchEvents"] == {"maxSize": 9, "timeout": "1m", "key": "event.data.k", "if": "event.data.n > 1"}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"rate_limit": stepwell.RateLimit(limit=0, period="1m")}, "limit"),
        ({"rate_limit": stepwell.RateLimit(limit=1, period="25h")}, "period"),
        ({"debounce": stepwell.Debounce(period="10ms")}, "period"),
        ({"debounce": stepwell.Debounce(period=1.5)}, "say its unit"),  # type: ignore[arg-type]
        ({"batch_events": stepwell.Batch(max_size=1)}, "maxSize"),
        ({"batch_events": stepwell.Batch(max_size=5, timeout="soon")}, "timeout"),
        (
            {"batch_events": stepwell.Batch(max_size=5), "cancel": [stepwell.Cancel(event="y")]},
            "batch_events and cancel do not go together",
        ),
        ({"singleton": stepwell.Singleton(mode="wait")}, "mode"),  # type: ignore[arg-type]
    ],
)
def test_what_can_not_be_is_said_at_the_declaration(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(stepwell.ConfigError, match=f"function 'f'.*{problem}"):
        declared(**settings)
