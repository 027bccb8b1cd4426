"""The command line as processes see it: quick, and never a traceback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.ports import free_port

GOOD = """
import stepwell

client = stepwell.Client(app_id="shop")

@client.create_function(fn_id="hello", trigger=stepwell.TriggerEvent(event="shop/hello"))
async def hello(ctx):
    return await ctx.step.run("name", lambda: "world")
"""
NO_FUNCTIONS = "import stepwell\nclient = stepwell.Client(app_id='shop')\n"


def stepwell(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("STEPWELL_", "INNGEST_"))}
    command = [sys.executable, "-m", "stepwell.cli.main", *args]
    return subprocess.run(
        command, cwd=cwd, env={**clean, **env}, capture_output=True, text=True, timeout=30, check=False
    )


def test_help_loads_next_to_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from stepwell.cli.main import run; code = run(['--help']);"
        "heavy = {'aiohttp','starlette','uvicorn','httpx2','sqlite3'} & set(sys.modules);"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("dev", "serve", "fetch", "send", "runs", "rerun", "cancel", "doctor", "version"):
        assert f"  {command} " in done.stdout


def test_version(tmp_path: Path) -> None:
    assert stepwell("version", cwd=tmp_path).stdout == stepwell("--version", cwd=tmp_path).stdout == "stepwell 0.1.0\n"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["nonsense"], 2, "There is no command 'nonsense'"),
        (["dev", "--port", "x"], 2, "--port"),
        (["dev", "--port", "70000"], 2, "Port 70000 does not exist"),
        (["dev", "--db", "oracle:x"], 2, "sqlite:///"),
        (["dev", "--retry-interval", "soon"], 2, "duration"),
        (["dev", "-u", "localhost:3000"], 2, "http://"),
        (["dev", "--host", "nowhere.invalid"], 1, "--host."),
        (["send", "x", "--data", "@nowhere"], 2, "nowhere can not be read: No such file or directory."),
        (["dev", "nowhere.py"], 2, "no file nowhere.py"),
        (["dev", "no.such.module"], 2, "no module 'no.such.module'"),
        (["dev", "."], 2, "folder"),
        (["dev", "syntax.py"], 1, "syntax.py:3: SyntaxError"),
        (["dev", "raises.py"], 1, "raises.py:5: ZeroDivisionError"),
        (["dev", "imports.py"], 1, "imports.py:1: ModuleNotFoundError"),
        (["dev", "exits.py"], 1, "exits.py:1: SystemExit"),
        (["dev", "nothing.py"], 1, "no stepwell.Client"),
        (["dev", "empty.py"], 1, "no functions"),
        (["dev", "good.py:other"], 1, "'other'"),
        (["serve", "good.py"], 2, "STEPWELL_SIGNING_KEY"),
        (["send", "x", "--data", "{"], 2, "not JSON"),
        (["send", "x"], 1, "No platform answers"),
        (["runs"], 1, "stepwell dev"),
        (["runs", "x"], 2, "not a run id"),
        (["runs", "--after", "yesterday"], 2, "--after must be a time"),
        (["prune", "--keep", "soon"], 2, "7d, or forever"),
        (["dev", "--db", "oracle://u:s3cret@h/d"], 2, "oracle://***@h/d"),
        (["migrate", "--db", "postgresql://u:s3cret@127.0.0.1:1/d"], 1, "can not be reached, or has broken off: check"),
        (["cancel"], 2, "Say which runs"),
        (["cancel", "x"], 2, "not a run id"),
        (["cancel", "x", "--app", "a"], 2, "not both"),
        (["cancel", "01HZZZZZZZZZZZZZZZZZZZZZZZ"], 1, "No platform answers"),
        (["fetch"], 2, "Give a URL"),
        (["fetch", "ftp://a"], 2, "not an http"),
        (["fetch", "http://a", "--timeout", "x"], 2, "duration"),
        (["fetch", "http://a", "--timeout", "0"], 2, "longer than 0"),
        (["fetch", "http://a", "--retries", "21"], 2, "range"),
    ],
)
def test_what_goes_wrong_is_one_line(tmp_path: Path, args: list[str], code: int, said: str) -> None:
    files = {
        "good.py": GOOD,
        "empty.py": NO_FUNCTIONS,
        "nothing.py": "x = 1\n",
        "syntax.py": "x = 1\n\ndef f(:\n",
        "raises.py": "def f():\n    return 1\n\n\nf() / 0\n",
        "imports.py": "import not_installed_anywhere\n",
        "exits.py": "raise SystemExit(3)\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = stepwell(*args, cwd=tmp_path, STEPWELL_PORT=str(free_port()))
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr


def test_without_the_server_extra(tmp_path: Path) -> None:
    for missing in ("click", "aiohttp"):
        code = (
            f"import sys; sys.modules[{missing!r}] = None\n"
            "from stepwell.cli.main import run\n"
            "sys.exit(run(['dev', '--no-discovery', '--db', 'memory:']))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
        )
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "pip install 'stepwell[server]'" in done.stderr


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = stepwell("dev", "--port", str(taken.getsockname()[1]), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "--port" in done.stderr


def test_dev_runs_a_module_and_stops_on_sigterm(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(GOOD)
    port = free_port()
    command = [sys.executable, "-m", "stepwell.cli.main", "dev", "good.py", "--port", str(port), "--no-discovery"]
    child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_healthy(port, child)
        sent = stepwell("send", "shop/hello", "--port", str(port), cwd=tmp_path)
        assert "shop-hello" in sent.stdout
        run_id = sent.stdout.split()[3]
        end = time.monotonic() + 10
        while "world" not in (tree := stepwell("runs", run_id, "--port", str(port), cwd=tmp_path).stdout):
            assert time.monotonic() < end, tree
    finally:
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=20)
    assert child.returncode == 0, err
    assert "Traceback" not in err
    assert "shop-hello" in out
    listed = stepwell("runs", "--port", str(port), cwd=tmp_path)
    assert run_id in listed.stdout


@pytest.mark.parametrize("flags", [["--json"], ["--log-format", "json"]])
def test_dev_for_scripts_says_in_json_where_it_is_and_what_happens(tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "good.py").write_text(GOOD)
    command = [sys.executable, "-m", "stepwell.cli.main", "dev", "good.py", "--port", "0", "--no-discovery", *flags]
    child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        started = json.loads(child.stdout.readline())
        assert (started["event"], started["kind"], started["functions"]) == ("platform.started", "dev", ["shop-hello"])
        assert started["db"].startswith("sqlite:///")
        port = started["url"].rpartition(":")[2]
        run_id = json.loads(stepwell("send", "shop/hello", "--json", "--port", port, cwd=tmp_path).stdout)["runs"][0]
        watched = stepwell("runs", run_id["run_id"], "--watch", "--json", "--port", port, cwd=tmp_path)
        assert watched.returncode == 0, watched.stderr
    finally:
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=20)
    assert (child.returncode, out) == (0, "")
    lines = [json.loads(line) for line in err.splitlines()]
    assert {"run.began", "run.ended"} <= {line.get("event") for line in lines}
    assert any(line["message"].startswith("stopping") for line in lines)


def test_a_database_has_one_owner(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "stepwell.cli.main", "dev", "--port", str(port), "--no-discovery"]
    owner = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_healthy(port, owner)
        for args in (["dev", "--no-discovery"], ["runs"], ["fetch", "http://127.0.0.1:1/"]):
            second = stepwell(*args, "--port", str(free_port()), cwd=tmp_path)
            assert second.returncode == 1
            assert str(owner.pid) in second.stderr
            assert second.stderr.count("\n") == 1
    finally:
        owner.send_signal(signal.SIGTERM)
        owner.communicate(timeout=20)


def test_serve_asks_for_keys_and_stops(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(GOOD)
    port = free_port()
    keys = {"STEPWELL_SIGNING_KEY": "signkey-prod-00ff", "STEPWELL_EVENT_KEY": "e1"}
    command = [sys.executable, "-m", "stepwell.cli.main", "serve", "good.py", "--port", str(port)]
    env = {**os.environ, **keys}
    child = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_healthy(port, child)
        refused = stepwell("send", "shop/hello", "--port", str(port), cwd=tmp_path)
        assert refused.returncode == 1
        assert (
            refused.stderr == f"Error: The event key is not one of http://127.0.0.1:{port}; set STEPWELL_EVENT_KEY.\n"
        )
        unsigned = stepwell("runs", "--port", str(port), cwd=tmp_path)
        assert unsigned.returncode == 1
        assert "asks for its signing key: set STEPWELL_SIGNING_KEY" in unsigned.stderr
        sent = stepwell("send", "shop/hello", "--port", str(port), cwd=tmp_path, **keys)
        assert "shop-hello" in sent.stdout, sent.stderr
        assert "shop-hello" in stepwell("runs", "--port", str(port), cwd=tmp_path, **keys).stdout
        hidden = stepwell("fetch", "http://127.0.0.1:1/", "--port", str(port), cwd=tmp_path, **keys)
        assert "does not host" in hidden.stderr
    finally:
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=20)
    assert child.returncode == 0


def wait_healthy(port: int, child: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 15
    while True:
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < end
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as response:
                assert response.status == 200
                return
        except OSError:
            time.sleep(0.05)
