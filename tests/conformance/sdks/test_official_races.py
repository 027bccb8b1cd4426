"""Races of the unmodified npm SDK: the run ends with the winner, however late the loser is. Groups of the Python SDK."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.conformance.sdks.conftest import pair

PROBE = Path(__file__).with_name("race_probe.mjs")
GROUPS = Path(__file__).with_name("race_python.py")
APPS = {"node": "/api/inngest", "plain": "/api/plain", "one": "/api/one"}


@pytest.mark.node
@pytest.mark.parametrize("app", list(APPS))
async def test_a_race_ends_with_its_winner(app: str, tmp_path: Path) -> None:
    async with pair(tmp_path, ["node", str(PROBE)], sync=APPS[app]) as node:
        for name, output in (
            ("run-wins", [f"{app}:work", f"{app}:after"]),
            ("race-ends", f"{app}:work"),
            ("sleep-wins", ["slept", f"{app}:after"]),
            ("any-fails", f"{app}:good"),
            ("plain-run-wins", [f"{app}:work", f"{app}:after"]),
            ("plain-ends", f"{app}:work"),
        ):
            assert await node.one(f"{app}/{name}") == output
        first, after = await node.one(f"{app}/runs")
        assert first in {f"{app}:a", f"{app}:b"}
        assert after == f"{app}:after"
        assert (await node.ran()).count(f"{app}:after") == 4


async def test_groups_of_the_python_sdk_go_on_after_all_or_after_each(tmp_path: Path) -> None:
    async with pair(tmp_path, [sys.executable, str(GROUPS)]) as python:
        outputs = await asyncio.gather(*(python.one(f"groups/{mode}") for mode in ("wait", "race")))
        assert outputs == [["slow", "quick"]] * 2
        ran = await python.ran()
        assert [name for name in ran if name.startswith("race")] == ["race quick", "race slow"]
        assert len(ran) == 4
