"""The command line against a real platform: fetch, send, runs."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stepwell.cli.main import run
from stepwell.cli.rerun import arguments
from stepwell.server.api import search
from tests.ports import free_port
from tests.server.cli_fakes import HUGE, PLAIN, Upstream, platform

pytestmark = pytest.mark.usefixtures("own_folder")

LARGE = bytes(range(256)) * 4096


def test_fetch_writes_the_body_and_tells_of_retries(
    site: tuple[str, type[Upstream]], port: int, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    url, handler = site
    assert run(["fetch", f"{url}/flaky?secret=1", "--port", str(port)]) == 0
    # the query makes it another path: not flaky
    assert capfdbinary.readouterr().out == b"hello "
    assert run(["fetch", f"{url}/flaky", "-H", "Authorization: Bearer s3cret", "--port", str(port)]) == 0
    out, err = capfdbinary.readouterr()
    assert out == b"hello "
    assert err.count(b"HTTP 503") == 2
    assert err.count(b"attempt") == 3
    assert b"s3cret" not in err
    assert [call[1] for call in handler.calls] == ["/flaky?secret=1", "/flaky", "/flaky", "/flaky"]
    assert handler.calls[-1][2]["Authorization"] == "Bearer s3cret"
    assert not list(Path(".stepwell/fetches").iterdir())


def test_fetch_posts_and_shows_headers(
    site: tuple[str, type[Upstream]], port: int, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    url, handler = site
    assert run(["fetch", f"{url}/echo", "--json", '{"a":1}', "-i", "-q", "--port", str(port)]) == 0
    out, err = capfdbinary.readouterr()
    head, _, body = out.partition(b"\r\n\r\n")
    assert body == b'hello {"a":1}'
    assert head.startswith(b"HTTP/1.1 200")
    assert b"s3cret" not in head
    assert err == b""
    method, _, headers, sent = handler.calls[0]
    assert (method, sent, headers["Content-Type"]) == ("POST", b'{"a":1}', "application/json")


def fetched(capfdbinary: pytest.CaptureFixture[bytes], *args: str, code: int = 0) -> dict[str, Any]:
    """The one JSON object that the command prints."""
    assert run(["fetch", "-q", *args]) == code
    lines = capfdbinary.readouterr().out.splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])


def test_fetch_prints_the_response_as_one_json_object(
    site: tuple[str, type[Upstream]], port: int, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    url, handler = site
    where = ("--port", str(port))
    said = fetched(capfdbinary, "--json", f"{url}/flaky", *where)
    assert (said["status"], said["body"], said["url"]) == (200, "hello ", f"{url}/flaky")
    assert [each.get("status") for each in said["attempts"]] == [503, 503, 200]
    assert said["attempts"][0]["delay_ms"] >= 0
    assert "first_byte" in said["attempts"][2]["phases"]
    assert said["started_at"] <= said["attempts"][0]["started_at"] <= said["ended_at"]
    assert said["duration_ms"] >= sum(each["duration_ms"] for each in said["attempts"])
    assert ["content-length", "6"] in [[name.lower(), value] for name, value in said["headers"]]
    assert fetched(capfdbinary, "--json", "--resume", said["run_id"], *where) == said
    assert fetched(capfdbinary, f"{url}/echo", "--json", '{"a":1}', "--json", *where)["body"] == 'hello {"a":1}'
    assert handler.calls[-1][2]["Content-Type"] == "application/json"
    assert base64.b64decode(fetched(capfdbinary, f"{url}/large", "--json", *where)["body_base64"]) == LARGE
    file = tmp_path / "body"
    said = fetched(capfdbinary, f"{url}/large", "--json", "-o", str(file), *where)
    assert (said["file"], "body" in said, "body_base64" in said) == (str(file), False, False)
    assert file.read_bytes() == LARGE
    said = fetched(capfdbinary, f"{url}/missing", "--json", *where, code=1)
    assert (said["status"], said["body"]) == (404, "nothing here")


def test_fetch_of_a_large_binary_body(
    site: tuple[str, type[Upstream]], port: int, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(["fetch", f"{site[0]}/large", "-q", "--port", str(port)]) == 0
    assert capfdbinary.readouterr().out == LARGE


def test_a_large_body_is_decoded_on_its_way_to_a_file(
    site: tuple[str, type[Upstream]], port: int, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    file = tmp_path / "body"
    assert run(["fetch", f"{site[0]}/zipped", "-q", "-o", str(file), "--port", str(port)]) == 0
    assert file.read_bytes() == PLAIN
    assert capfdbinary.readouterr() == (b"", b"")
    assert run(["fetch", f"{site[0]}/damaged", "-q", "-o", str(file), "--port", str(port)]) == 1
    assert run(["fetch", f"{site[0]}/echo", "-q", "-o", str(tmp_path / "no" / "body"), "--port", str(port)]) == 1
    damaged, nowhere = capfdbinary.readouterr().err.decode().splitlines()
    assert "damaged" in damaged
    assert "can not be written: No such file or directory." in nowhere


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_a_body_is_never_in_memory_whole(site: tuple[str, type[Upstream]], port: int, tmp_path: Path) -> None:
    def peak(path: str) -> int:
        command = ["fetch", f"{site[0]}{path}", "-q", "-o", str(tmp_path / "body"), "--port", str(port)]
        child = os.posix_spawn(sys.executable, [sys.executable, "-m", "stepwell.cli.main", *command], os.environ)
        _, status, usage = os.wait4(child, 0)
        assert status == 0
        return usage.ru_maxrss * 1024

    small = peak("/echo")
    assert peak("/huge") - small < HUGE // 2
    assert (tmp_path / "body").stat().st_size == HUGE


def test_an_error_status_is_exit_code_1(
    site: tuple[str, type[Upstream]], port: int, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(["fetch", f"{site[0]}/missing", "-q", "--port", str(port)]) == 1
    out, err = capfdbinary.readouterr()
    assert (out, err) == (b"nothing here", b"The server answered 404.\n")


def test_an_upstream_that_is_not_there(port: int, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(["fetch", f"http://127.0.0.1:{free_port()}/x", "--retries", "1", "--port", str(port)]) == 1
    lines = capfdbinary.readouterr().err.decode().splitlines()
    assert lines[-1].startswith("Error: ")
    assert "(2 attempts)" in lines[-1]
    assert [line.split()[:2] for line in lines if "attempt " in line] == [["attempt", "1"], ["attempt", "2"]]
    assert not list(Path(".stepwell/fetches").iterdir())


def test_after_ctrl_c_the_same_command_goes_on(
    site: tuple[str, type[Upstream]], port: int, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    url, handler = site
    command = ["fetch", f"{url}/gate", "--port", str(port)]
    child = subprocess.Popen([sys.executable, "-m", "stepwell.cli.main", *command], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: bool(handler.calls))
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert "Traceback" not in err
    farewell = err.splitlines()[-1]
    assert f"--port {port}" in farewell
    run_id = farewell.split("--resume ")[1].split()[0]
    handler.gate.set()
    assert run(command) == 0
    out, err_bytes = capfdbinary.readouterr()
    assert out == b"through the gate"
    assert b"under way already" in err_bytes
    assert run(["fetch", "--resume", run_id, "--port", str(port)]) == 0
    assert capfdbinary.readouterr().out == b"through the gate"
    assert len(handler.calls) == 1
    assert run(command) == 0
    assert len(handler.calls) == 2


def wait_for(condition: object, seconds: float = 20) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_runs_as_table_tree_and_json(
    site: tuple[str, type[Upstream]], port: int, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(["fetch", f"{site[0]}/flaky", "-q", "--port", str(port)]) == 0
    capfdbinary.readouterr()
    assert run(["runs", "--port", str(port)]) == 0
    listed = capfdbinary.readouterr().out.decode().splitlines()
    assert len(listed) == 2
    assert "Completed" in listed[1]
    run_id = listed[1].split()[0]
    assert run(["runs", run_id, "--port", str(port)]) == 0
    tree = capfdbinary.readouterr().out.decode()
    assert tree.count("HTTP 503") == 2
    assert "then again after" in tree
    assert run(["runs", run_id, "--json", "--port", str(port)]) == 0
    shown = json.loads(capfdbinary.readouterr().out)
    assert [attempt["status"] for attempt in shown["steps"][0]["attempts"]] == [503, 503, 200]
    assert run(["runs", "--status", "failed", "--port", str(port)]) == 0
    assert capfdbinary.readouterr().out == b"No runs.\n"
    assert run(["runs", "01JQDAE4RQF8MBCR55T5AK4KXS", "--port", str(port)]) == 1
    assert capfdbinary.readouterr().err == b"Error: There is no run 01JQDAE4RQF8MBCR55T5AK4KXS.\n"


def test_runs_by_expression_text_app_and_time(
    site: tuple[str, type[Upstream]],
    port: int,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A search goes on from page to page until it has what was asked for."""
    monkeypatch.setattr(search, "LOOKED_AT", 1)
    monkeypatch.setattr(search, "_BATCH", 1)
    for path in ("echo", "missing", "echo"):
        run(["fetch", f"{site[0]}/{path}", "-q", "--port", str(port)])
    capfdbinary.readouterr()

    def found(*options: str) -> int:
        assert run(["runs", "--json", *options, "--port", str(port)]) == 0
        return len(json.loads(capfdbinary.readouterr().out))

    assert found("--where", "event.data.url.endsWith('/echo') && run.status == 'completed'") == 2
    assert found("--where", "event.data.url.endsWith('/echo')", "--limit", "1") == 1
    assert found("--where", "event.data.url.endsWith('/nowhere')") == 0
    assert found("--text", "STEPWELL-cli", "--app", "stepwell-cli", "--after", "2026-01-01T00:00:00Z") == 3
    assert found("--app", "other") == 0
    assert found("--before", "2026-01-01T00:00:00Z") == 0
    assert run(["runs", "--where", "run.stauts == 1", "--port", str(port)]) == 2
    assert b"a run has no field 'stauts'; it has id" in capfdbinary.readouterr().err


def test_send(site: tuple[str, type[Upstream]], port: int, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    data = json.dumps({"url": f"{site[0]}/echo", "method": "GET", "headers": []})
    assert run(["send", "stepwell/cli.fetch", "--data", data, "--json", "--port", str(port)]) == 0
    sent = json.loads(capfdbinary.readouterr().out)
    assert [r["function"] for r in sent["runs"]] == ["stepwell-cli-fetch"]
    assert run(["send", "nobody/listens", "--port", str(port)]) == 0
    out, err = capfdbinary.readouterr()
    assert out.startswith(b"event 01")
    assert b"started no run" in err
    assert run(["send", "inngest/x", "--port", str(port)]) == 2
    assert b"reserved" in capfdbinary.readouterr().err


def test_a_function_is_paused_and_resumed(port: int, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    def said(*args: str, code: int = 0) -> str:
        assert run([*args, "--port", str(port)]) == code
        return "".join(text.decode() for text in capfdbinary.readouterr())

    assert "`stepwell functions` lists them" in said("functions", "pause", "fetch", code=1)
    assert "stepwell-cli-fetch is paused." in said("functions", "pause", "stepwell-cli-fetch")
    assert re.search(r"stepwell-cli-fetch  paused since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n", said("functions"))
    assert "stepwell-cli-fetch  skipped: paused\n" in said("send", "stepwell/cli.fetch")
    assert json.loads(said("functions", "resume", "stepwell-cli-fetch", "--json"))["paused"] is False
    assert "stepwell-cli-fetch  active\n" in said("functions")


def test_runs_are_read_from_the_file_where_no_platform_runs(
    site: tuple[str, type[Upstream]], tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    db = tmp_path / "x.db"
    with platform(db) as port:
        assert run(["fetch", f"{site[0]}/echo", "-q", "--port", str(port)]) == 0
    capfdbinary.readouterr()
    where = ["--port", str(port), "--db", f"sqlite:///{db}"]
    assert run(["runs", "--json", *where]) == 0
    (found,) = json.loads(capfdbinary.readouterr().out)
    assert run(["runs", found["run_id"], *where]) == 0
    assert "Completed" in capfdbinary.readouterr().out.decode()
    assert run(["send", "x", *where]) == 1
    assert b"start one with `stepwell dev`" in capfdbinary.readouterr().err


def test_a_key_with_which_nothing_is_stored_is_not_asked_for_later(
    site: tuple[str, type[Upstream]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    db = tmp_path / "x.db"
    with platform(db) as port:
        assert run(["fetch", f"{site[0]}/echo", "-q", "--port", str(port)]) == 0
    alone = ["--db", f"sqlite:///{db}"]
    where = ["--port", str(port), *alone]
    monkeypatch.setenv("STEPWELL_ENCRYPTION_KEY", "5a" * 32)
    for command in (["runs", *where], ["workers", *where], ["prune", "--dry-run", *alone]):
        assert run(command) == 0
    run(["doctor", *where])
    assert b"x.db opens." in capfdbinary.readouterr().out
    monkeypatch.delenv("STEPWELL_ENCRYPTION_KEY")
    capfdbinary.readouterr()
    assert run(["runs", *where]) == 0
    assert b"stepwell-cli-fetch" in capfdbinary.readouterr().out


def test_rerun(site: tuple[str, type[Upstream]], tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """From the start the upstream is asked again; from a step that was never there nothing is."""
    db = tmp_path / "x.db"
    with platform(db) as port:
        assert run(["fetch", f"{site[0]}/echo", "-q", "--port", str(port)]) == 0
        capfdbinary.readouterr()
        assert run(["runs", "--json", "--port", str(port)]) == 0
        (old,) = json.loads(capfdbinary.readouterr().out)
        assert run(["rerun", old["run_id"], "--port", str(port)]) == 0
        new = capfdbinary.readouterr().out.decode().strip()
        end = time.monotonic() + 20
        while len(site[1].calls) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        assert len(site[1].calls) == 2
        assert run(["rerun", old["run_id"], "--from", "request", "--json", "--port", str(port)]) == 0
        assert json.loads(capfdbinary.readouterr().out)["original_run_id"] == old["run_id"] != new
        for args, code, said in (
            (["rerun", old["run_id"], "--from", "nothing"], 1, b"no step 'nothing'"),
            (["rerun", "x"], 2, b"is not a run id"),
            (["rerun", old["run_id"], "--input", "1"], 2, b"--from"),
            (["rerun", old["run_id"], "--from", "request", "--input", "{"], 2, b"no JSON"),
        ):
            assert run([*args, "--port", str(port)]) == code
            assert said in capfdbinary.readouterr().err
    where = ["--port", str(port), "--db", f"sqlite:///{db}"]
    assert run(["rerun", old["run_id"], *where]) == 1
    assert b"start one with `stepwell dev`" in capfdbinary.readouterr().err


@pytest.mark.parametrize(("text", "args"), [("1", [1]), ('{"a": [1]}', [{"a": [1]}]), ("[1, 2]", [1, 2]), ("[]", [])])
def test_arguments_of_a_step(text: str, args: list[object]) -> None:
    assert arguments(text) == args


def test_the_processes_of_the_platform_are_listed(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["workers", "--json", "--port", str(port)]) == 0
    (worker,) = json.loads(capfd.readouterr().out)
    assert (worker["pid"], worker["status"], worker["items"]) == (os.getpid(), "Active", 0)
    assert run(["workers", "--port", str(port)]) == 0
    head, line = capfd.readouterr().out.splitlines()
    assert head.startswith("WORKER")
    assert line.split()[0] == worker["id"]
