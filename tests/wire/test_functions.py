"""Registrations: every shape that SDKs send, every limit, and the way back."""

import datetime
import json
from typing import Any

import inngest
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.wire.functions import (
    BadRegistration,
    Batch,
    Cancel,
    Concurrency,
    Debounce,
    FunctionConfig,
    RateLimit,
    RunTimeouts,
    Scope,
    Singleton,
    SingletonMode,
    Throttle,
    Trigger,
    normalise_url,
    parse_function,
    parse_registration,
    render_function,
)

URL = "http://h:8000/api"


def registration(**members: Any) -> bytes:
    return json.dumps({"appName": "demo", "url": URL, "functions": [], **members}).encode()


def test_keys_count_in_any_case_at_every_level() -> None:
    found = parse_registration(
        json.dumps(
            {
                "APPNAME": "demo",
                "Url": "http://127.0.0.1:8000/api",
                "SDK": "js:v4",
                "appversion": "1",
                "Functions": [
                    {
                        "ID": "demo-f",
                        "Triggers": [{"EVENT": "a", "Expression": "true"}],
                        "STEPS": {
                            "Step": {
                                "Retries": {"Attempts": 2},
                                "RunTime": {"URL": "http://h/x?stepId=step&fnId=demo-f"},
                            }
                        },
                        "ratelimit": {"LIMIT": 1, "Period": "1m"},
                    }
                ],
            }
        ).encode()
    )
    (function,) = found.functions
    assert (found.app_name, found.url, found.sdk, found.app_version) == (
        "demo",
        "http://localhost:8000/api",
        "js:v4",
        "1",
    )
    assert function.triggers == (Trigger(event="a", expression="true"),)
    assert (function.retries, function.max_attempts) == (2, 3)
    assert function.url == "http://h/x?fnId=demo-f&stepId=step"
    assert function.rate_limit == RateLimit(limit=1, period_ms=60_000)


def test_function_without_anything_has_the_defaults() -> None:
    (function,) = parse_registration(registration(functions=[{"id": "demo-f", "unknown": {"x": 1}}])).functions
    assert function == FunctionConfig(id="demo-f", name="demo-f", url="http://h:8000/api?fnId=demo-f&stepId=step")
    assert function.max_attempts == 5


def test_in_band_answer_is_a_registration() -> None:
    body = {
        "app_id": "demo",
        "appVersion": None,
        "env": None,
        "url": URL,
        "sdk": "py:v1",
        "functions": [],
        "platform": None,
    }
    assert parse_registration(json.dumps(body).encode()).app_name == "demo"


def test_checksum_is_of_the_content() -> None:
    one = parse_registration(registration(functions=[{"id": "f"}], featureObservations={"a": 1}))
    same = parse_registration(b" " + registration(featureObservations={}, functions=[{"id": "f"}]))
    other = parse_registration(registration(functions=[{"id": "g"}]))
    assert one.checksum == same.checksum != other.checksum


@pytest.mark.parametrize(
    ("given_shape", "steps", "runs"),
    [
        (None, (), ()),
        (3, (Concurrency(limit=3),), ()),
        (0, (), ()),
        ({"limit": 2, "key": "event.data.x"}, (Concurrency(limit=2, key="event.data.x"),), ()),
        (
            [5, {"limit": 2, "key": "'openai'", "scope": "account"}],
            (Concurrency(limit=5), Concurrency(limit=2, key="'openai'", scope=Scope.ACCOUNT)),
            (),
        ),
        ({"fn": [{"limit": 1}], "step": [{"limit": 4}]}, (Concurrency(limit=4),), (Concurrency(limit=1),)),
        ({"Step": [4]}, (Concurrency(limit=4),), ()),
    ],
)
def test_shapes_of_concurrency(given_shape: Any, steps: tuple[Concurrency, ...], runs: tuple[Concurrency, ...]) -> None:
    function = parse_function({"id": "f", "concurrency": given_shape})
    assert (function.concurrency, function.run_concurrency) == (steps, runs)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"id": None}, "function: id is missing"),
        ({"id": "x" * 256}, "256 characters"),
        ({"concurrency": "x"}, "concurrency has to be a JSON object"),
        ({"concurrency": True}, "limit has to be an integer"),
        ({"concurrency": {"key": "1"}}, "limit is missing"),
        ({"concurrency": [1, 2, 3]}, "3 entries, more than 2"),
        ({"concurrency": {"limit": 1, "scope": "env"}}, "scope 'env' needs a key"),
        ({"concurrency": {"limit": 1, "scope": "world"}}, "scope is 'world'"),
        ({"triggers": [{}]}, "trigger 0: it needs either an event or a cron"),
        ({"triggers": [{"event": "a", "cron": "* * * * *"}]}, "either an event or a cron"),
        ({"triggers": [{"event": "a"}, {"event": "a"}]}, "are the same"),
        ({"triggers": [{"event": f"e{n}"} for n in range(11)]}, "11 entries, more than 10"),
        ({"triggers": [{"event": "*"}]}, "a pattern ends in"),
        ({"triggers": [{"event": "a*"}]}, "a pattern ends in"),
        ({"triggers": [{"event": "a/*/b/*"}]}, "a pattern ends in"),
        ({"triggers": [{"event": "e" * 256}]}, "256 characters"),
        ({"triggers": [{"event": "a", "expression": 5}]}, "expression has to be a string"),
        ({"triggers": [{"cron": "* * *"}]}, "five fields"),
        ({"triggers": [{"cron": "* * * * *", "jitter": "1h"}]}, "jitter is '1h'"),
        ({"triggers": "a"}, "triggers has to be an array"),
        ({"steps": {"step": {"retries": {"attempts": 21}}}}, "from 0 to 20"),
        ({"steps": {"step": {"runtime": {"type": "ftp"}}}}, "'http' or 'ws'"),
        ({"steps": {"step": {"runtime": {"url": "nowhere"}}}}, "not an absolute URL"),
        ({"throttle": {"limit": 1, "period": "soon"}}, "throttle: period: 'soon' is not a duration"),
        ({"throttle": {"limit": 1}}, "period is missing"),
        ({"rateLimit": {"limit": 1, "period": "25h"}}, "rateLimit: period is '25h'"),
        ({"debounce": {"period": "8d"}}, "debounce: period is '8d'"),
        ({"batchEvents": {"maxSize": 1, "timeout": "5s"}}, "maxSize has to be an integer from 2"),
        ({"batchEvents": {"maxSize": 2, "timeout": "1ms"}}, "timeout is '1ms'"),
        ({"batchEvents": {"maxSize": 2, "timeout": "5s"}, "debounce": {"period": "5s"}}, "do not go together"),
        ({"singleton": {"mode": "maybe"}}, "'skip' or 'cancel'"),
        ({"cancel": [{"event": "c"}] * 6}, "6 entries, more than 5"),
        ({"cancel": [{}]}, "event is missing"),
        ({"cancel": [{"event": "c", "timeout": "soon"}]}, "timeout: 'soon' is not a duration"),
        ({"timeouts": {"start": "never"}}, "start: 'never' is not a duration"),
        ({"priority": 5}, "priority has to be a JSON object"),
        ({"idempotency": "x" * 5000}, "5000 characters"),
    ],
)
def test_bad_function_is_told_where_and_why(members: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRegistration, match=says):
        parse_registration(registration(functions=[{"id": "fine"}, {"id": "f", **members}]))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "can not be read"),
        (b"[]", "registration has to be a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"url":"http://h"}', "appName is missing"),
        (b'{"appName":"a"}', "url is missing"),
        (b'{"appName":"a","url":"h"}', "not an absolute URL"),
        (b'{"appName":"a","url":"http://h","functions":{}}', "functions has to be an array"),
        (b'{"appName":"a","url":"http://h","functions":[3]}', "function has to be a JSON object"),
        (b'{"appName":"a","url":"http://h","functions":[{"id":"f"},{"id":"f"}]}', "two functions have the id 'f'"),
    ],
)
def test_bad_registration(body: bytes, says: str) -> None:
    with pytest.raises(BadRegistration, match=says):
        parse_registration(body)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://127.0.0.1:8000/api", "http://localhost:8000/api"),
        ("http://0.0.0.0:1/", "http://localhost:1/"),
        ("http://127.0.0.1/api", "http://127.0.0.1/api"),
        ("http://h:80/x", "http://h/x"),
        ("HTTPS://H:443", "https://h"),
        ("http://h:443/", "http://h:443/"),
        ("http://h/a?z=1&probe=trust&b=2&deployId=9&b=1", "http://h/a?b=2&b=1&z=1"),
        ("http://h/a?q=a+b&e=", "http://h/a?e=&q=a%20b"),
        ("http://[::1]:8000/#top", "http://[::1]:8000/"),
        ("http://u:p@h:9/", "http://u:p@h:9/"),
    ],
)
def test_normal_form_of_urls(url: str, wanted: str) -> None:
    assert normalise_url(url) == wanted
    assert normalise_url(wanted) == wanted


@pytest.mark.parametrize(
    "url", ["", "h", "/api", "ftp://h", "http://", "http://h:99999/", "http://[::1", "javascript:1"]
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match="not an absolute URL"):
        normalise_url(url)


KEYS = st.none() | st.sampled_from(["event.data.x", "'k'"])
MS = st.integers(1_000, 3_600_000)
EVENTS = st.sampled_from(["a", "a/b.c", "a/*", "a.*"])
CONFIGS = st.builds(
    FunctionConfig,
    id=st.just("app-f"),
    name=st.sampled_from(["F", "a name"]),
    url=st.sampled_from(["", "http://h:1/x?fnId=app-f&stepId=step"]),
    triggers=st.lists(
        st.builds(Trigger, event=EVENTS, expression=KEYS)
        | st.builds(Trigger, cron=st.just("TZ=Europe/Vienna 1 2 * * *"), jitter_ms=st.integers(1_000, 300_000)),
        max_size=4,
        unique=True,
    ).map(tuple),
    retries=st.integers(0, 20),
    concurrency=st.lists(
        st.builds(Concurrency, limit=st.integers(1, 99), key=KEYS)
        | st.builds(Concurrency, limit=st.integers(1, 99), key=st.just("1"), scope=st.sampled_from(Scope)),
        max_size=2,
    ).map(tuple),
    run_concurrency=st.lists(st.builds(Concurrency, limit=st.integers(1, 99), key=KEYS), max_size=2).map(tuple),
    throttle=st.none() | st.builds(Throttle, limit=st.integers(1, 9), period_ms=MS, burst=st.integers(0, 9), key=KEYS),
    fetch_throttle=st.none() | st.builds(Throttle, limit=st.integers(1, 9), period_ms=MS),
    rate_limit=st.none() | st.builds(RateLimit, limit=st.integers(1, 9), period_ms=MS, key=KEYS),
    cancel=st.lists(st.builds(Cancel, event=EVENTS, condition=KEYS, timeout=st.none() | st.just("1h")), max_size=5).map(
        tuple
    ),
    timeouts=st.none() | st.builds(RunTimeouts, start_ms=st.none() | MS, finish_ms=st.none() | MS),
    debounce=st.none() | st.builds(Debounce, period_ms=MS, key=KEYS, timeout_ms=st.none() | MS),
    singleton=st.none() | st.builds(Singleton, mode=st.sampled_from(SingletonMode), key=KEYS),
    priority=KEYS,
    idempotency=KEYS,
)


@given(CONFIGS)
def test_rendered_function_reads_back(config: FunctionConfig) -> None:
    assert parse_function(json.loads(json.dumps(render_function(config)))) == config


@given(st.builds(Batch, max_size=st.integers(2, 99), timeout_ms=MS, key=KEYS, condition=KEYS))
def test_rendered_batch_reads_back(batch: Batch) -> None:
    config = FunctionConfig(id="f", name="f", batch=batch)
    assert parse_function(json.loads(json.dumps(render_function(config)))) == config


def test_what_the_official_sdk_registers_is_read() -> None:
    client = inngest.Inngest(app_id="demo", is_production=False)

    @client.create_function(
        fn_id="f",
        name="F",
        retries=2,
        trigger=[
            inngest.TriggerEvent(event="a/b", expression="event.data.x > 1"),
            inngest.TriggerCron(cron="* * * * *"),
        ],
        concurrency=[inngest.Concurrency(limit=3, key="event.data.k", scope="env")],
        throttle=inngest.Throttle(limit=2, period=datetime.timedelta(seconds=90)),
        cancel=[inngest.Cancel(event="stop", if_exp="true", timeout=datetime.timedelta(hours=1))],
    )
    async def function(ctx: inngest.Context) -> None:
        """Never called."""

    config = function.get_config("http://127.0.0.1:9/api/inngest").main.to_dict()
    assert isinstance(config, dict)
    found = parse_function(config)
    assert (found.id, found.name, found.max_attempts) == ("demo-f", "F", 3)
    assert found.url == "http://localhost:9/api/inngest?fnId=demo-f&stepId=step"
    assert found.triggers == (Trigger(event="a/b", expression="event.data.x > 1"), Trigger(cron="* * * * *"))
    assert found.concurrency == (Concurrency(limit=3, key="event.data.k", scope=Scope.ENV),)
    assert found.throttle == Throttle(limit=2, period_ms=90_000, burst=1)
    assert found.cancel == (Cancel(event="stop", condition="true", timeout="1h"),)
