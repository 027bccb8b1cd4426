"""The pure parts of the command line: what it writes, and how it reads what it is given."""

import base64
import re
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.cli.clock import duration, parse_instant, span
from stepwell.cli.errors import CliError, explain, one_line
from stepwell.cli.fetch_request import build, fingerprint, sorted_out
from stepwell.cli.group import cli
from stepwell.cli.receive import _shown
from stepwell.cli.resume import Bookmark
from stepwell.cli.runs import table
from stepwell.cli.send import parse_data
from stepwell.cli.tree import render
from stepwell.errors import ConfigError
from stepwell.server.settings import Settings
from stepwell.wire.functions import BadRegistration
from stepwell.wire.ids import is_ulid

T0 = "2026-11-02T14:03:05.000Z"
T1 = "2026-11-02T14:03:06.240Z"
RUN = {
    "run_id": "01JQDAE4RQF8MBCR55T5AK4KXS",
    "function": "demo-files",
    "status": "Completed",
    "queued_at": T0,
    "ended_at": T1,
    "output": {"words": 7},
    "steps": 2,
    "steps_ended": 2,
}
FETCH = {
    "name": "GET a.example/x",
    "op": "Gateway",
    "status": "Completed",
    "created_at": T0,
    "started_at": T0,
    "ended_at": T1,
    "info": {"method": "GET", "url": "http://a.example/x"},
    "attempts": [
        {"number": 0, "status": 503, "duration_ms": 12, "delay_ms": 1000, "reason": "Retry-After"},
        {
            "number": 1,
            "status": 200,
            "size": 1234,
            "duration_ms": 10,
            "phases": {"dns": 1.0, "tls": 2.5, "first_byte": 3012.4},
        },
    ],
}
COUNT = {"name": "count", "op": "StepRun", "status": "Failed", "created_at": T1, "started_at": T1, "ended_at": T1}


@pytest.mark.parametrize(
    ("millis", "text"),
    [
        (0, "0 ms"),
        (999.4, "999 ms"),
        (1240, "1.24 s"),
        (59_900, "59.9 s"),
        (59_990, "1 m 00 s"),
        (125_000, "2 m 05 s"),
        (3_599_900, "1 h 00 m"),
        (11_400_000, "3 h 10 m"),
        (None, ""),
    ],
)
def test_durations(millis: float | None, text: str) -> None:
    assert duration(millis) == text


@given(st.floats(0, 1e12))
def test_a_duration_is_short_and_has_a_unit(millis: float) -> None:
    assert re.fullmatch(r"[\d.]+ (ms|s|m \d\d s|h \d\d m)", duration(millis))


def test_spans() -> None:
    assert span(T0, T1) == pytest.approx(1240)
    assert span(T0, None) is None


def test_the_tree_of_a_run() -> None:
    lines = render(RUN, [FETCH, {**COUNT, "error": {"name": "ValueError", "message": "no\nwords"}}])
    assert lines[0].startswith("01JQDAE4RQF8MBCR55T5AK4KXS  demo-files  ✓ Completed  in 1.24 s")
    assert lines[1] == "├─ ✓ GET a.example/x  GET http://a.example/x  at +0 ms  took 1.24 s"
    assert lines[2] == "│  ├─ attempt 1  HTTP 503  12 ms  then again after 1 s (Retry-After)"
    assert lines[3] == "│  └─ attempt 2  HTTP 200  1,234 bytes  10 ms  (dns 1, tls 2.5, first byte 3012 ms)"
    assert lines[4] == "├─ ✗ count  ended at +1.24 s  ValueError: no words"
    assert lines[5] == '└─ result: {"words": 7}'


def test_a_step_whose_beginning_is_known_says_how_long_it_took() -> None:
    slow = {**COUNT, "created_at": T0, "started_at": T0}
    assert render(RUN, [slow])[1] == "├─ ✗ count  at +0 ms  took 1.24 s"


def test_the_tree_in_plain_characters() -> None:
    run = {**RUN, "status": "Running", "ended_at": None}
    del run["output"]
    sleeping = {**COUNT, "op": "Sleep", "status": "Waiting", "ended_at": None, "due_at": T1}
    text = "\n".join(render(run, [FETCH, sleeping], unicode=False))
    assert text.isascii()
    assert "[waiting] count  sleep" in text
    assert "until 2026-11-0" in text
    assert text.splitlines()[-1].startswith("`- ")


def test_a_request_in_flight_waits_for_no_time_that_is_past() -> None:
    flying = {**FETCH, "status": "Waiting", "ended_at": None, "due_at": T0, "attempts": []}
    due = parse_instant(T0) or 0.0
    assert "until" not in render(RUN, [flying], now=due + 1)[1]
    assert "until 2026-11-0" in render(RUN, [flying], now=due - 1)[1]


def test_a_failed_run_and_one_between_calls() -> None:
    failed = {**RUN, "status": "Failed", "output": {"name": "E", "message": "broken"}}
    assert render(failed, [])[-1] == "└─ error: E: broken"
    waiting = {**RUN, "status": "Running", "last_error": "refused", "retry_at": T1}
    assert "last call failed: refused" in render(waiting, [])[-1]


def test_the_table_is_aligned() -> None:
    lines = table([RUN, {**RUN, "status": "Queued", "ended_at": None}]).splitlines()
    assert len(lines) == 3
    assert len({line.index("demo-files") for line in lines[1:]} | {lines[0].index("FUNCTION")}) == 1
    assert table([]) == "No runs."


def test_requests_follow_curls_rules() -> None:
    assert build("a.example/x", None, (), None, None) == {"url": "http://a.example/x", "method": "GET", "headers": []}
    form = build("https://a/", None, ("X-A: b:c",), "k=v", None)
    assert form["method"] == "POST"
    assert form["headers"] == [["X-A", "b:c"], ["Content-Type", "application/x-www-form-urlencoded"]]
    assert base64.b64decode(str(form["body"])) == b"k=v"
    sent = build("https://a/", "put", ("content-type: application/x",), None, "{}")
    assert (sent["method"], sent["headers"]) == (
        "PUT",
        [["content-type", "application/x"], ["Accept", "application/json"]],
    )


def test_a_body_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"\x00\xff")
    assert base64.b64decode(str(build("http://a", None, (), f"@{tmp_path}/b", None)["body"])) == b"\x00\xff"
    with pytest.raises(CliError, match="can not be read"):
        build("http://a", None, (), "@/nowhere", None)


@pytest.mark.parametrize("url", ["", "ftp://a", "http://", "http://a:99999/", "http://[x/"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(CliError, match="not an http"):
        build(url, None, (), None, None)


def test_bad_headers_and_two_bodies() -> None:
    with pytest.raises(CliError, match="Name: value"):
        build("http://a", None, ("nonsense",), None, None)
    with pytest.raises(CliError, match="not both"):
        build("http://a", None, (), "a", "{}")


def test_progress_shows_no_secrets_of_the_url() -> None:
    assert _shown("https://u:p@a.example/x?key=s#f") == "https://a.example/x"
    assert _shown("https://a.example?key=s") == "https://a.example"


def test_a_bookmark_names_the_same_event_until_it_is_dropped(tmp_path: Path) -> None:
    settings = Settings(db=f"sqlite:///{tmp_path}/x.db")
    mark = fingerprint({"url": "u"}, None)
    first = Bookmark(settings, mark, 1_795_000_000_000)
    assert first.fresh
    assert is_ulid(first.event_id)
    first.keep()
    (kept,) = (tmp_path / "fetches").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    again = Bookmark(settings, mark, 1_795_000_001_000)
    assert (again.fresh, again.event_id) == (False, first.event_id)
    assert Bookmark(settings, mark, 1_795_000_001_000, anew=True).fresh
    assert Bookmark(settings, mark, 1_795_000_000_000 + 21 * 3_600_000).fresh
    kept.write_text("garbage")
    assert Bookmark(settings, mark, 1_795_000_001_000).fresh
    again.drop()
    again.drop()
    assert not kept.exists()


def test_data_of_an_event(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('{"a": 1}')
    assert parse_data(f"@{tmp_path}/d.json") == {"a": 1}
    for wrong in ("{", "[1]", "5", "@/nowhere"):
        with pytest.raises(CliError) as caught:
            parse_data(wrong)
        assert caught.value.code == 2


def test_every_exception_becomes_one_line() -> None:
    for error in (
        ValueError("a\nb"),
        OSError(98, "Address already in use"),
        CliError("x", 2),
        ModuleNotFoundError(name="aiohttp"),
    ):
        line, code = explain(error)
        assert "\n" not in one_line(line)
        assert code in (1, 2)
    assert "--port" in explain(OSError(98, "in use"))[0]
    assert "stepwell[postgres]" in explain(ModuleNotFoundError("No module named 'asyncpg'", name="asyncpg"))[0]
    assert "stepwell[server]" in explain(ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn"))[0]


def test_the_page_has_every_command_and_all_have_json_but_those_that_it_names() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "cli.md").read_text(encoding="utf-8")
    names = cli.list_commands(click.Context(cli))
    assert re.findall(r"^\| `stepwell (\w+)`", page, re.MULTILINE) == names
    commands = {name: cli.get_command(click.Context(cli), name) for name in names}
    options = {name: {opt for each in found.params for opt in each.opts} for name, found in commands.items() if found}
    assert [name for name in names if "--json" not in options[name]] == ["completion"]
    assert "`completion`" in page.partition("**For scripts.**")[2]


@pytest.mark.parametrize(
    ("target", "values", "run_id", "found"),
    [
        ("u", (), None, ("u", None, False)),
        ("u", ("{}",), None, ("u", "{}", False)),
        ("u", ("",), None, ("u", None, True)),
        ("u", ("{}", ""), None, ("u", "{}", True)),
        (None, ("u",), None, ("u", None, True)),
        (None, ("",), "R", (None, None, True)),
        (None, (), "R", (None, None, False)),
    ],
)
def test_json_with_data_is_sent_and_without_is_printed(
    target: str | None, values: tuple[str, ...], run_id: str | None, found: object
) -> None:
    assert sorted_out(target, values, run_id) == found


@pytest.mark.parametrize(("target", "values", "run_id"), [("u", ("1", "2"), None), (None, ("1",), "R")])
def test_json_that_has_no_meaning_is_refused(target: str | None, values: tuple[str, ...], run_id: str | None) -> None:
    with pytest.raises(CliError):
        sorted_out(target, values, run_id)


def test_a_declaration_that_can_not_be_taken_is_told_plainly() -> None:
    for error in (
        BadRegistration("function 'f': cron 'x' can not be read"),
        ConfigError("function 'f' has retries=99"),
    ):
        assert explain(error) == (str(error), 1)
