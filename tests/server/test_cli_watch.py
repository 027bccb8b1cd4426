"""Commands that go on showing what happens, against a real platform."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stepwell.cli.main import run
from stepwell.cli.platform import Platform, remote
from stepwell.cli.tail import line, wanted
from stepwell.cli.watch import News, news
from stepwell.server.settings import Settings
from tests.server.cli_fakes import Upstream

COMMAND = [sys.executable, "-m", "stepwell.cli.main"]
FETCH = "stepwell-cli-fetch"


@asynccontextmanager
async def watched(port: int) -> AsyncIterator[tuple[Platform, list[News]]]:
    """The platform, and what is told of it while the block lasts."""
    said: list[News] = []

    async def listen(other: Platform, ready: asyncio.Event) -> None:
        found = news(other, 0.01)
        first = asyncio.ensure_future(anext(found))
        await asyncio.sleep(0)
        ready.set()
        said.append(await first)
        while True:
            said.append(await anext(found))

    async with remote(Settings(port=port), f"http://127.0.0.1:{port}") as asked:
        task = asyncio.ensure_future(listen(asked, ready := asyncio.Event()))
        await ready.wait()
        while len(said) == 0:  # what happens before the first look is not told
            await asked.send({"name": "look"})
            await asyncio.sleep(0.05)
        yield asked, said
        task.cancel()


async def until(said: list[News], kind: str) -> News:
    async with asyncio.timeout(20):
        while True:
            found = [each for each in said if each.kind == kind and each.about.get("name") != "look"]
            if found:
                return found[0]
            await asyncio.sleep(0.01)


def request(url: str) -> dict[str, Any]:
    return {"name": "stepwell/cli.fetch", "data": {"url": url, "method": "GET", "headers": []}}


async def test_news_are_events_and_runs_that_begin_and_end(site: tuple[str, type[Upstream]], port: int) -> None:
    url, handler = site
    async with watched(port) as (asked, said):
        event_id = await asked.send(request(f"{url}/gate"))
        event, began = await until(said, "event"), await until(said, "began")
        assert event.about["internal_id"] == event_id
        assert all(each.kind != "ended" for each in said)
        handler.gate.set()
        ended = await until(said, "ended")
    assert ended.about["run_id"] == began.about["run_id"]
    assert ended.about["status"] == "Completed"
    assert len({(each.kind, str(each.about.get("run_id", each.about.get("internal_id")))) for each in said}) == len(
        said
    )
    words = [line(each).split() for each in (event, began, ended)]
    assert [each[1] for each in words] == ["event", "queued", "completed"]
    assert [each[3] for each in words] == [event_id, began.about["run_id"], began.about["run_id"]]


def test_filters() -> None:
    event, ended = News("event", {"name": "e"}), News("ended", {"function": "f", "status": "Failed"})
    assert wanted(event, None, failed=False)
    assert not wanted(event, "f", failed=False)
    assert not wanted(event, None, failed=True)
    assert wanted(ended, "f", failed=True)
    assert not wanted(ended, "g", failed=False)
    assert not wanted(News("ended", {"function": "f", "status": "completed"}), "f", failed=True)


@pytest.mark.parametrize("args", [["tail", "--json"], ["runs", "--watch", "--json"], ["runs", "--watch"]])
def test_what_comes_is_a_line_until_ctrl_c(
    site: tuple[str, type[Upstream]], port: int, tmp_path: Path, args: list[str]
) -> None:
    path = tmp_path / "said"
    with path.open("wb") as out:
        running = subprocess.Popen([*COMMAND, *args, "--port", str(port)], cwd=tmp_path, stdout=out)
    for _ in range(40):  # the first may come before the command looks
        assert run(["fetch", f"{site[0]}/echo", "-q", "--new", "--port", str(port)]) == 0
        time.sleep(0.1)
        if b"completed" in path.read_bytes().lower():
            break
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 130
    said = path.read_text()
    assert any(FETCH in each and "completed" in each.lower() for each in said.splitlines())
    assert "\x1b" not in said
    if "--json" in args:
        assert all(isinstance(json.loads(each), dict) for each in said.splitlines())


def test_a_run_is_watched_until_it_ends(
    site: tuple[str, type[Upstream]], port: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url, handler = site
    data = json.dumps(request(f"{url}/gate")["data"])
    assert run(["send", "stepwell/cli.fetch", "--data", data, "--json", "--port", str(port)]) == 0
    run_id = json.loads(capfd.readouterr().out)["runs"][0]["run_id"]
    mine, theirs = pty.openpty()
    command = [*COMMAND, "runs", run_id, "--watch", "--port", str(port)]
    env = {**os.environ, "TERM": "xterm"}
    running = subprocess.Popen(command, cwd=tmp_path, stdout=theirs, stderr=theirs, env=env)
    shown = os.read(mine, 4096)
    handler.gate.set()
    running.wait(20)
    os.close(theirs)
    while b"completed" not in shown.lower():
        shown += os.read(mine, 4096)
    os.close(mine)
    assert running.returncode == 0
    assert shown.count(b"\x1b[H\x1b[2J") >= 2
    assert run_id.encode() in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_completion(shell: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_STEPWELL_COMPLETE" in capfd.readouterr().out


def test_bash_completes_commands(tmp_path: Path) -> None:
    env = {**os.environ, "_STEPWELL_COMPLETE": "bash_complete", "COMP_WORDS": "stepwell re", "COMP_CWORD": "1"}
    found = subprocess.run(COMMAND, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert found.stdout.split() == ["plain,rerun", "plain,rekey"]
