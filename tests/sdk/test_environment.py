"""What the SDK reads from the environment, under both names, and what of it can be said in code."""

import logging
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest

import stepwell
from stepwell.sdk.config import read_config, read_level
from stepwell.testing import arun_function

KEY = "signkey-test-abc123def456"
VARIABLES: list[tuple[str, str, str, Any]] = [
    ("EVENT_KEY", "k", "event_key", "k"),
    ("SIGNING_KEY", KEY, "signing_key", KEY),
    ("SIGNING_KEY_FALLBACK", KEY, "signing_key_fallback", KEY),
    ("DEV", "0", "dev", False),
    ("DEV", "http://h:1", "api_url", "http://h:1"),
    ("BASE_URL", "http://h:2", "event_url", "http://h:2"),
    ("API_BASE_URL", "http://h:3", "api_url", "http://h:3"),
    ("EVENT_API_BASE_URL", "http://h:4", "event_url", "http://h:4"),
    ("ENV", "branch", "env", "branch"),
    ("SERVE_ORIGIN", "https://app.example.com", "serve_origin", "https://app.example.com"),
    ("SERVE_PATH", "/x/inngest", "serve_path", "/x/inngest"),
    ("ALLOW_IN_BAND_SYNC", "0", "in_band", False),
]


@pytest.mark.parametrize(("name", "text", "field", "value"), VARIABLES)
def test_both_names_of_a_variable_are_read_and_ours_wins(name: str, text: str, field: str, value: Any) -> None:
    assert asdict(read_config({}))[field] != value
    for prefix in ("STEPWELL_", "INNGEST_"):
        assert asdict(read_config({f"{prefix}{name}": text}))[field] == value
    both = read_config({f"STEPWELL_{name}": text, f"INNGEST_{name}": "1"})
    assert asdict(both)[field] == value


@pytest.mark.parametrize(
    ("text", "level"), [("debug", 10), ("INFO", 20), ("warn", 30), ("error", 40), ("fatal", 50), ("silent", 51)]
)
def test_the_level_of_the_log(text: str, level: int) -> None:
    assert read_level({"STEPWELL_LOG_LEVEL": text}) == read_level({"INNGEST_LOG_LEVEL": text}) == level
    assert read_level({}) is None


def test_a_level_that_there_is_not_is_named() -> None:
    with pytest.raises(stepwell.ConfigError, match="'loud'"):
        read_level({"STEPWELL_LOG_LEVEL": "loud"})


@pytest.fixture
def own() -> Iterator[logging.Logger]:
    logger = logging.getLogger("stepwell.functions")
    level = logger.level
    yield logger
    logger.setLevel(level)


def test_the_level_is_that_of_the_sdks_own_logger_only(monkeypatch: pytest.MonkeyPatch, own: logging.Logger) -> None:
    monkeypatch.setenv("INNGEST_LOG_LEVEL", "error")
    mine = logging.getLogger("tests.mine")
    assert stepwell.Client("a", logger=mine).logger.level == logging.NOTSET
    assert stepwell.Client("a").logger is own
    assert own.level == logging.ERROR


async def test_another_logger_can_be_set_later(caplog: pytest.LogCaptureFixture) -> None:
    client = stepwell.Client("a")

    @client.create_function(fn_id="f", trigger=[])
    async def f(ctx: stepwell.Context) -> None:
        ctx.logger.warning("heard")

    client.set_logger(logging.getLogger("tests.other"))
    await arun_function(f)
    assert [(record.name, record.message) for record in caplog.records] == [("tests.other", "heard")]


@pytest.mark.parametrize(("given", "seconds"), [(None, None), (1500, 1.5), (timedelta(minutes=1), 60.0)])
def test_requests_take_as_long_as_said(given: Any, seconds: float | None) -> None:
    assert stepwell.Client("a", request_timeout=given).config.timeout_s == seconds
    with pytest.raises(stepwell.ConfigError, match="request_timeout"):
        assert stepwell.Client("a", request_timeout=0).config
