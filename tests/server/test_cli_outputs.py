"""Outputs that are closed, full, left by their reader, or without a code for a character; a Ctrl-C that comes twice."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from stepwell.cli.errors import CliError
from stepwell.cli.main import run
from stepwell.cli.modules import load_clients
from tests.ports import free_port
from tests.server.cli_fakes import Upstream

pytestmark = pytest.mark.usefixtures("own_folder")

STEPWELL = [sys.executable, "-m", "stepwell.cli.main"]


def ended(command: Sequence[str], **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, timeout=50, check=False)


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_closed_output_is_no_error(site: tuple[str, type[Upstream]], port: int, closed: str) -> None:
    for words in (["version"], ["runs", "--port", str(port)], ["fetch", f"{site[0]}/echo", "--port", str(port)]):
        done = ended(["sh", "-c", f'exec "$@" {closed}', "sh", *STEPWELL, *words])
        assert done.returncode == 0, done
        assert b"Error" not in done.stdout + done.stderr


def test_an_output_without_a_code_for_a_character() -> None:
    db = "sqlite:///\N{LATIN SMALL LETTER U WITH DIAERESIS}.db"
    done = ended([*STEPWELL, "doctor", "--quick", "--port", str(free_port()), "--db", db], PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"sqlite:///\xfc.db" in done.stdout


def test_a_reader_that_leaves_a_large_body_hears_nothing_more(site: tuple[str, type[Upstream]], port: int) -> None:
    words = [*STEPWELL, "fetch", "-q", f"{site[0]}/huge", "--port", str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.read(10)) == 10
        process.stdout.close()
        assert process.stderr.read() == b""


def test_an_answer_that_could_not_be_written_is_gone_on_with(
    site: tuple[str, type[Upstream]], port: int, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    where = ["--port", str(port)]
    assert run(["fetch", "-q", f"{site[0]}/echo", "-o", "/nowhere/x", *where]) == 1
    said = capfdbinary.readouterr().err.decode()
    assert said.startswith("Error: /nowhere/x can not be written: No such file or directory.")
    again = re.findall(r"stepwell (fetch --resume \w{26} --port \d+)$", said.strip())[0].split()
    assert run([*again, "-q"]) == 0
    assert capfdbinary.readouterr().out == b"hello "
    assert len(site[1].calls) == 1


def test_two_signals_at_once_are_two(tmp_path: Path) -> None:
    words = [*STEPWELL, "dev", "--no-discovery", "--db", "memory:", "--port", str(free_port())]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"stepwell dev" in process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        assert process.wait(40) == 130
        assert b"did not give way" not in process.stderr.read()


def test_a_platform_whose_readers_have_left_goes_on_and_stops_well(tmp_path: Path) -> None:
    where = f"http://127.0.0.1:{(port := free_port())}/health"
    words = [*STEPWELL, "dev", "--no-discovery", "--db", "memory:", "--port", str(port)]
    nobody, ours = os.pipe()
    os.close(nobody)
    with subprocess.Popen(words, stdout=ours, stderr=ours, cwd=tmp_path) as process:
        os.close(ours)
        while process.poll() is None:
            with suppress(httpx2.TransportError):
                assert httpx2.get(where).status_code == 200
                break
            time.sleep(0.05)
        process.terminate()
        assert process.wait(40) == 0


def test_what_is_wrong_in_a_users_file_is_named_there(tmp_path: Path) -> None:
    path = tmp_path / "twice.py"
    one = '@client.create_function(fn_id="x", trigger=stepwell.TriggerEvent(event="a"))\nasync def f(ctx): ...\n'
    path.write_text(f"import stepwell\nclient = stepwell.Client(app_id='a')\n{one}{one}")
    with pytest.raises(CliError, match=r"twice\.py:5: ConfigError: there are two functions 'x'"):
        load_clients(str(path))
