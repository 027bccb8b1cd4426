"""Races of the unmodified npm SDK: the run ends with the winner, however long the loser would have taken."""

from pathlib import Path

import pytest

from tests.conformance.sdks.conftest import pair

PROBE = Path(__file__).with_name("race_probe.mjs")
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
