"""The plugin in a suite of somebody else, with and without an asyncio plugin; what is imported when."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

LOOPS = "asyncio_default_fixture_loop_scope=function"
SUITE = """
import pytest
import stepwell
from stepwell.testing import arun_function, run_function

client = stepwell.Client(app_id="app", is_production=False)


@client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"))
async def f(ctx):
    return (await ctx.step.fetch("https://api.example.com/x")).json()


def test_sync(stepwell_http):
    stepwell_http.get("https://api.example.com/x").respond(json=1)
    assert run_function(f, http=stepwell_http).output == 1
"""
ASYNC = """

async def test_async(stepwell_http):
    stepwell_http.get("https://api.example.com/x").respond(json=2)
    assert (await arun_function(f, http=stepwell_http)).output == 2
"""
CASSETTES = """
import pytest
import stepwell
from stepwell.testing import run_function

client = stepwell.Client(app_id="app", is_production=False)


@client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"))
async def f(ctx):
    return (await ctx.step.fetch("{url}", headers={"x": "shown"})).status_code


@pytest.mark.parametrize("n", [1, 2])
def test_own(stepwell_cassette, n):
    assert run_function(f, http=stepwell_cassette).output == 200


@pytest.mark.stepwell_cassette("shared", mask=["x"])
def test_named(stepwell_cassette):
    assert run_function(f, http=stepwell_cassette).output == 200


@pytest.mark.stepwell_cassette(mode="replay")
def test_of_replay(stepwell_cassette):
    assert run_function(f, http=stepwell_cassette).output == 200
"""


NAMES = """
import pytest


class TestOne:
    def test_it(self, stepwell_cassette):
        names.append(stepwell_cassette.path.name)


class TestTwo:
    class TestDeep:
        def test_it(self, stepwell_cassette):
            names.append(stepwell_cassette.path.name)


@pytest.mark.parametrize("text", ["a b", "a/b", "x" * 300, "y" * 300])
def test_odd(stepwell_cassette, text):
    names.append(stepwell_cassette.path.name)


names = []


def test_each_has_its_own():
    assert len(set(names)) == 6, names
    assert names[:2] == ["TestOne.test_it.json", "TestTwo.TestDeep.test_it.json"]
    assert max(map(len, names)) < 200
"""


def run_pytest(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--strict-markers"]
    command += ["--assert=plain"]  # rewriting the asserts of everything that is installed takes most of the time
    done = subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, timeout=50, check=False)
    return done.stdout + done.stderr


def test_with_an_asyncio_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SUITE + ASYNC)
    assert "2 passed" in run_pytest(tmp_path, "--asyncio-mode=auto", "-o", LOOPS, "-W", "error")


def test_without_one(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SUITE)
    assert "1 passed" in run_pytest(tmp_path, "-p", "no:asyncio", "-W", "error")


async def test_cassettes_beside_the_tests(tmp_path: Path) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(text="live")

    app = web.Application()
    app.router.add_get("/", handle)
    async with TestServer(app) as server:
        (tmp_path / "test_it.py").write_text(CASSETTES.replace("{url}", str(server.make_url("/"))))
        found = await asyncio.to_thread(run_pytest, tmp_path)
        assert "3 passed, 1 error" in found
        assert "there is no cassette" in found
        again = await asyncio.to_thread(run_pytest, tmp_path, "--stepwell-cassettes=record", "-k", "of_replay")
        assert "1 passed" in again
    files = sorted(path.name for path in (tmp_path / "cassettes" / "test_it").iterdir())
    assert files == ["shared.json", "test_of_replay.json", "test_own-1.json", "test_own-2.json"]
    named, own = (json.loads((tmp_path / "cassettes" / "test_it" / name).read_text()) for name in files[::2])
    assert [dict(each["entries"][0]["request"]["headers"])["x"] for each in (named, own)] == ["***", "shown"]
    assert named["entries"][0]["response"]["body"] == {"text": "live"}
    assert "4 passed" in await asyncio.to_thread(run_pytest, tmp_path)


def test_every_test_has_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(NAMES)
    assert "7 passed" in run_pytest(tmp_path, "--stepwell-cassettes=none")


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("stepwell.testing.plugin", ["stepwell.testing.run", "stepwell.server", "httpx2"]),
        ("stepwell.testing.run", ["stepwell.server", "aiohttp", "httpx2", "pytest"]),
    ],
)
def test_imports_are_light(module: str, heavy: list[str]) -> None:
    code = f"import {module}, sys; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


def test_without_the_platform_a_test_says_what_to_install() -> None:
    """And the rest of the SDK is there."""
    hidden = "import sys\nsys.modules['cronsim'] = None\nfrom stepwell import *\nprint(Client)\n"
    done = subprocess.run([sys.executable, "-c", hidden + SUITE + "run_function(f)"], capture_output=True, check=False)
    assert b"Client" in done.stdout, done.stderr
    assert done.stderr.decode().splitlines()[-1] == (
        "ImportError: a run in a test needs the platform, and 'cronsim' is not installed: pip install 'stepwell[server]'"
    )
