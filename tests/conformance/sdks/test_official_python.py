"""The official Python SDK, unmodified, on the platform: real processes, real HTTP, a real SQLite file."""

import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.sdks.conftest import Pair, pair

APP = Path(__file__).parent / "python_app.py"


@pytest.fixture
async def py(tmp_path: Path) -> AsyncIterator[Pair]:
    async with pair(tmp_path, [sys.executable, str(APP)]) as running:
        yield running


async def test_steps_in_sequence_in_parallel_and_asleep(py: Pair) -> None:
    assert await py.one("py/sequence") == ["first", "second", "again"]
    assert await py.ran() == ["first", "second", "again"]
    assert await py.one("py/parallel") == ["a", "b", "c", "after"]
    assert sorted((await py.ran())[3:]) == ["a", "after", "b", "c"]
    before = time.monotonic()
    assert await py.one("py/sleeps") == "awake"
    assert time.monotonic() - before >= 1


async def test_errors_of_steps_and_of_functions(py: Pair) -> None:
    assert await py.one("py/flaky") == 7
    assert (await py.ran()).count("try") == 3
    name, message, after = await py.one("py/caught")
    assert (name, message, after) == ("ValueError", "for good", "after caught")
    assert (await py.ran()).count("bad") == 2
    assert await py.one("py/retried") == ["once", 1]
    assert (await py.ran()).count("once") == 1


async def test_errors_that_say_when_to_try_again(py: Pair) -> None:
    (run,) = await py.run("py/final")
    assert run["status"] == "Failed"
    assert "never again" in str(run["output"])
    assert await py.ran() == ["final"]
    before = time.monotonic()
    assert await py.one("py/later") == 1
    assert 1 <= time.monotonic() - before <= 10


async def test_concurrency_holds_for_every_call(py: Pair) -> None:
    runs = await py.run("py/limited", runs=8)
    assert [run["status"] for run in runs] == ["Completed"] * 8
    assert (await py.app.get("/ran")).json()["most"] == 2


async def test_a_state_too_large_for_a_call_is_asked_for(py: Pair) -> None:
    assert await py.one("py/large") == [2_000_000] * 4


async def test_an_event_of_almost_3_mib(py: Pair) -> None:
    (run,) = await py.run("py/wide", {"x": "x" * 3_000_000})
    assert run["output"] == [2_000_000, 3_000_000, 1]
