"""What a terminal is shown and a pipe is not: colours, bars, counts."""

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell.cli.main import run
from stepwell.core.model import Run
from stepwell.core.outputs import Commit
from stepwell.server.build import open_store
from stepwell.testing.platform.prune_conformance import ended
from tests.ports import free_port
from tests.server.cli_fakes import Upstream, platform
from tests.server.test_doctor_runs import OVER
from tests.server.test_retention import KEYS, file_with_runs

COLOUR = b"\x1b[3"


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("STEPWELL_", "INNGEST_")):
            monkeypatch.delenv(name)
    with platform() as number:
        yield number


def shown(*words: str, terminal: bool, code: int = 0, **env: str) -> bytes:
    """All that a command writes, to a terminal or to a pipe; it ends with ``code``."""
    command = [sys.executable, "-m", "stepwell.cli.main", *words]
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    kept |= {"TERM": "xterm", **env}
    if not terminal:
        done = subprocess.run(command, env=kept, capture_output=True, timeout=40, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=kept, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    found: list[bytes] = []
    try:
        while piece := os.read(ours, 65536):
            found.append(piece)
    except OSError:
        pass  # the other end is closed: it has ended
    finally:
        os.close(ours)
    assert process.wait(20) == code, b"".join(found)
    return b"".join(found)


def test_colours_are_for_terminals(site: tuple[str, type[Upstream]], port: int) -> None:
    """And NO_COLOR turns them off there too."""
    assert run(["fetch", f"{site[0]}/echo", "-q", "--port", str(port)]) == 0
    words = ("runs", "--port", str(port))
    assert COLOUR in shown(*words, terminal=True)
    assert COLOUR not in shown(*words, terminal=True, NO_COLOR="1")
    piped = shown(*words, terminal=False)
    assert COLOUR not in piped
    assert b"Completed" in piped


def test_a_large_body_has_a_bar(site: tuple[str, type[Upstream]], port: int, tmp_path: Path) -> None:
    words = ("fetch", f"{site[0]}/large", "-o", str(tmp_path / "body"), "--port", str(port))
    assert b"100%" in shown(*words, terminal=True)
    assert (tmp_path / "body").read_bytes() == bytes(range(256)) * 4096
    assert b"%" not in shown(*words, "--new", terminal=False)


@pytest.mark.parametrize("terminal", [True, False])
def test_an_error_before_there_is_any_progress_comes_alone(tmp_path: Path, terminal: bool) -> None:
    (tmp_path / "s.db").write_bytes(b"no database" * 99)
    said = shown("rekey", "--db", f"sqlite:///{tmp_path}/s.db", terminal=terminal, code=1)
    assert said.startswith(b"Error: ")
    assert said.count(b"\n") == 1


def test_a_long_search_says_how_far_it_is(
    site: tuple[str, type[Upstream]], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepwell.server.api import search

    monkeypatch.setattr(search, "LOOKED_AT", 1)
    monkeypatch.setattr(search, "_BATCH", 1)
    for _ in range(3):
        assert run(["fetch", f"{site[0]}/echo", "-q", "--new", "--port", str(port)]) == 0
    words = ("runs", "--text", "none of them", "--port", str(port))
    assert b"Looked at 2 runs" in shown(*words, terminal=True)
    assert shown(*words, terminal=False) == b"No runs.\n"


async def file_with(run: Run) -> None:
    store = open_store("sqlite:///s.db", keys=KEYS)
    await store.open()
    await store.transact([Commit(now=1, run=run)])
    await store.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("doctor",), b"Looked at 1 runs"),
        (("prune", "--keep", "7d", "--dry-run"), b"3 so far"),
        (("rekey",), b"100%"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_goes_through_a_database_says_how_far_it_is(
    words: tuple[str, ...], said: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEPWELL_ENCRYPTION_KEY", KEYS[0])
    monkeypatch.setenv("STEPWELL_PORT", str(free_port()))
    if words == ("doctor",):  # a run that is as it must be
        asyncio.run(file_with(OVER))
    else:
        asyncio.run(file_with_runs(tmp_path / "s.db", *(ended(number) for number in range(3))))
    asked = (*words, "--db", "sqlite:///s.db")
    assert said in shown(*asked, terminal=True)
    assert said not in shown(*asked, terminal=False)
