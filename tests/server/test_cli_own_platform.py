"""`stepwell fetch` where no platform runs: one inside of the command, on the database file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stepwell.wire.ids import is_ulid
from tests.ports import free_port
from tests.server.cli_fakes import Upstream


class Shell:
    """A folder to run commands in, where no platform runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("STEPWELL_", "INNGEST_"))}
        self.env = {**clean, "STEPWELL_PORT": str(free_port()), "STEPWELL_RETRY_INTERVAL": "20ms"}

    def start(self, *args: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "stepwell.cli.main", *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=pipe, stderr=pipe)

    def __call__(self, *args: str) -> tuple[int, bytes, str]:
        child = self.start(*args)
        out, err = child.communicate(timeout=30)
        return child.returncode, out, err.decode()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_a_request_with_retries(shell: Shell, site: tuple[str, type[Upstream]]) -> None:
    url, handler = site
    code, out, err = shell("fetch", f"{url}/flaky", "-d", "k=v", "-H", "X-A: b")
    assert (code, out) == (0, b"hello k=v"), err
    assert err.count("HTTP 503") == 2
    assert [call[0] for call in handler.calls] == ["POST"] * 3
    assert len({call[2]["Idempotency-Key"] for call in handler.calls}) == 1
    assert handler.calls[0][2]["X-A"] == "b"
    assert shell("fetch", f"{url}/x?token=s3cret", "-q")[0] == 0
    code, out, err = shell("runs", "--json")
    assert code == 0, err
    assert f"{url}/x" in out.decode()
    assert b"s3cret" not in out
    code, out, err = shell("runs")
    assert b"stepwell-cli-fetch" in out


def test_large_bodies_error_statuses_and_failures(shell: Shell, site: tuple[str, type[Upstream]]) -> None:
    url, _ = site
    code, out, err = shell("fetch", f"{url}/large", "-q")
    assert (code, out) == (0, bytes(range(256)) * 4096), err
    code, out, err = shell("fetch", f"{url}/large", "-q", "--max-body", "1MB")
    assert (code, out) == (1, b"")
    assert "larger than the limit of 1000000 bytes" in err
    assert shell("fetch", url, "--max-body", "much") == (
        2, b"", "Error: --max-body: 'much' is not a size: write a number of bytes, or one with a unit, such as '64MiB'.\n"
    )  # fmt: skip
    code, out, err = shell("fetch", f"{url}/missing", "-q")
    assert (code, out, err) == (1, b"nothing here", "The server answered 404.\n")
    code, out, err = shell("fetch", f"http://127.0.0.1:{free_port()}/", "-q", "--retries", "1")
    assert (code, out, err.count("\n")) == (1, b"", 1)
    assert err.startswith("Error: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_request_goes_on(shell: Shell, site: tuple[str, type[Upstream]], number: signal.Signals) -> None:
    url, handler = site
    child = shell.start("fetch", f"{url}/gate", "-d", "x")
    end = time.monotonic() + 20
    while not handler.calls:
        assert time.monotonic() < end
        time.sleep(0.02)
    child.send_signal(number)
    _, err = child.communicate(timeout=20)
    assert b"Traceback" not in err
    if number is signal.SIGINT:
        assert child.returncode == 130
        assert is_ulid(err.decode().splitlines()[-1].split("--resume ")[1]), "the port is that of the variable"
    handler.gate.set()
    code, out, told = shell("fetch", f"{url}/gate", "-d", "x")
    assert (code, out) == (0, b"through the gate"), told
    assert "going on with it" in told
    keys = [call[2]["Idempotency-Key"] for call in handler.calls]
    assert len(keys) == 2
    assert keys[0] == keys[1]
