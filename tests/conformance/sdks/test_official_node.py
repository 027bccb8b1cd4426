"""The official npm SDK, unmodified, on the platform: with its default (checkpoints), without, and speaking version 1."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.conformance.sdks.conftest import Pair, pair

APP = Path(__file__).parent / "node_app.mjs"
MODULES = Path(__file__).parents[3] / "examples" / "typescript"
APPS = {"node": "/api/inngest", "plain": "/api/plain", "one": "/api/one"}

pytestmark = [pytest.mark.node, pytest.mark.parametrize("app", list(APPS))]


@pytest.fixture
async def node(tmp_path: Path, app: str) -> AsyncIterator[Pair]:
    async with pair(tmp_path, ["node", str(APP)], cwd=MODULES, sync=APPS[app]) as running:
        yield running


async def ran(node: Pair, app: str) -> list[str]:
    return [name.removeprefix(f"{app}:") for name in await node.ran()]


async def test_steps_in_sequence_in_parallel_and_asleep(node: Pair, app: str) -> None:
    assert await node.one(f"{app}/sequence") == [f"{app}:first", f"{app}:second", f"{app}:again"]
    assert await ran(node, app) == ["first", "second", "again"]
    assert await node.one(f"{app}/parallel") == [f"{app}:{name}" for name in ("a", "b", "c", "after")]
    assert sorted((await ran(node, app))[3:]) == ["a", "after", "b", "c"]
    before = time.monotonic()
    assert await node.one(f"{app}/sleeps") == f"{app}:awake"
    assert time.monotonic() - before >= 1
    assert (await ran(node, app))[-2:] == ["tired", "awake"]


async def test_steps_have_the_length_that_they_took(node: Pair, app: str) -> None:
    (run,) = await node.run(f"{app}/slow")
    steps = await node.steps(run)
    assert [step["name"] for step in steps] == ["one", "two", "three", "four"]
    for step in steps:
        began, ended = (datetime.fromisoformat(step[name]) for name in ("started_at", "ended_at"))
        assert ended - began >= timedelta(milliseconds=70), step
    assert steps[0]["started_at"] < steps[1]["started_at"] < steps[2]["started_at"]


async def test_errors_of_steps_and_of_functions(node: Pair, app: str) -> None:
    assert await node.one(f"{app}/flaky") == 7
    assert (await ran(node, app)).count("try") == 3
    assert (await ran(node, app)).count("before") == 1
    assert await node.one(f"{app}/caught") == [True, "for good", f"{app}:after caught"]
    assert (await ran(node, app)).count("bad") == 2
    assert await node.one(f"{app}/retried") == [f"{app}:once", 1]
    assert (await ran(node, app)).count("once") == 1


async def test_errors_that_say_when_to_try_again(node: Pair, app: str) -> None:
    (run,) = await node.run(f"{app}/final")
    assert run["status"] == "Failed"
    assert "never again" in str(run["output"])
    assert await ran(node, app) == ["final"]
    before = time.monotonic()
    assert await node.one(f"{app}/later") == 1
    assert 1 <= time.monotonic() - before <= 10


async def test_concurrency_and_a_state_too_large_for_a_call(node: Pair, app: str) -> None:
    sizes = asyncio.ensure_future(node.one(f"{app}/large"))
    runs = await node.run(f"{app}/limited", runs=8)
    assert [run["status"] for run in runs] == ["Completed"] * 8
    assert (await node.app.get("/ran")).json()["most"] == 2
    assert await sizes == [2_000_000] * 4


async def test_an_event_of_almost_3_mib(node: Pair, app: str) -> None:
    (run,) = await node.run(f"{app}/wide", {"x": "x" * 3_000_000})
    assert run["output"] == [2_000_000, 3_000_000, 1]
