"""The log: one JSON object a line, with ids, without credentials."""

import json
import logging
from pathlib import Path

import pytest

import stepwell
from stepwell.embed import embedded
from stepwell.server.telemetry.logs import JsonFormatter, OnceInAWhile, TextFormatter
from stepwell.testing.platform.postgres import clean_database
from tests.crash.serve_process import ServeProcess
from tests.telemetry.receivers import Flaky, serving

client = stepwell.Client(app_id="logged")


@client.create_function(fn_id="works", trigger=stepwell.TriggerEvent(event="logged/works"), retries=1)
async def works(ctx: stepwell.Context) -> None:
    await ctx.step.fetch(f"{ctx.event.data['url']}/a?token=s3cret", id="get")
    raise ValueError("the user's own s3cret")


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


async def test_each_thing_that_happens_is_one_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_LOG_FORMAT", "json")
    logger, lines = logging.getLogger("stepwell.runs"), Lines()
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.addHandler(lines)
    try:
        with serving(Flaky().handle) as url:
            async with embedded(client, db=f"sqlite:///{tmp_path}/l.db", retry_interval=0.01) as platform:
                (result,) = await platform.send_and_wait("logged/works", {"url": url})
    finally:
        logger.removeHandler(lines)
    said = [json.loads(line) for line in lines.lines]
    assert [line["event"] for line in said] == ["run.began", "step.attempt_failed", "step.ended", "run.ended"]
    assert {line["run_id"] for line in said} == {result.run_id}
    assert (said[1]["step"], said[1]["error"], said[1]["level"]) == ("get", "status 503", "warning")
    assert (said[2]["status"], said[2]["attempts"], said[2]["op"]) == ("completed", 2, "Gateway")
    assert said[3]["status"] == "failed"
    assert said[3]["error"] == "ValueError"
    assert said[3]["duration_ms"] >= 0
    assert not any("s3cret" in line for line in lines.lines)


@pytest.mark.parametrize(
    "text",
    [
        "GET http://h/a?x=1&api_key=s3cret failed",
        "GET http://user:s3cret@h/a failed",
        "{'Authorization': 'Bearer s3cret'}",
        "authorization: Basic s3cret",
        "[(b'authorization', b'bearer s3cret')]",
        "sent bearer s3cret-s3cret",
        "signkey-prod-5ec4e75ec4e7",
    ],
)
@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()], ids=["json", "text"])
def test_credentials_are_masked_in_messages_and_tracebacks(formatter: logging.Formatter, text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError as problem:
        trouble = (ValueError, problem, None)
    record = logging.LogRecord("stepwell", logging.ERROR, "f", 1, "%s", (text,), trouble)
    line = formatter.format(record)
    assert "s3cret" not in line
    assert "5ec4e7" not in line
    assert line.count("***") == 2


def test_other_text_stays(caplog: pytest.LogCaptureFixture) -> None:
    text = "function shop-pay: http://h/a?page=2 said the bearer of this is basic information"
    record = logging.LogRecord("stepwell", logging.INFO, "f", 1, text, (), None)
    assert json.loads(JsonFormatter().format(record))["message"] == text


async def test_what_a_server_says_of_its_database_has_no_password(tmp_path: Path) -> None:
    url = (await clean_database()).replace("//stepwell@", "//stepwell:s3cret@")
    server = ServeProcess(url, tmp_path / "x.db")
    await server.start()
    assert await server.stop() == 0
    said = (tmp_path / "x.log").read_text(encoding="utf-8")
    assert "state in postgresql://***@127.0.0.1" in said
    assert "s3cret" not in said


def test_an_error_that_many_meet_is_said_once_in_a_while() -> None:
    once = OnceInAWhile()

    def shown(message: str, at: float, level: int = logging.ERROR) -> bool:
        record = logging.LogRecord("stepwell.engine", level, "", 0, "%s", (message,), None)
        record.created = at
        return once.filter(record)

    assert [shown("it is away", at) for at in (0.0, 0.1, 9.9, 10.0, 10.1)] == [True, False, False, True, False]
    assert shown("it is full", 10.2)
    assert [shown("run 1 failed", 10.3, logging.WARNING) for _ in range(2)] == [True, True]
