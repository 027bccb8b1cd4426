"""``at_most_once``: whatever is killed when, the upstream never sees a request twice, and no result is made up."""

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.platform_process import PlatformProcess
from tests.crash.upstream import Upstream

APP = Path(__file__).with_name("once_app.py")
RUNS = 40
ROUNDS = 4 if os.environ.get("CI") == "true" else 2


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_a_killed_platform_never_sends_twice(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    async with Upstream(delay_s=0.4) as upstream:
        platform = PlatformProcess(APP, tmp_path / "once.db", {"UPSTREAM": upstream.url})
        await platform.start()
        await platform.send([{"name": "once", "data": {"n": n}} for n in range(RUNS)])
        await upstream.reaches(chance.randint(1, RUNS))
        await platform.kill()
        in_flight = set(upstream.seen)
        await platform.start()

        async def over() -> bool:
            statuses = await platform.runs()
            return len(statuses) == RUNS and set(statuses.values()) == {"completed"}

        await platform.until(over)
        outputs = {run: (await platform.get(f"/v1/runs/{run}"))["data"]["output"] for run in await platform.runs()}
        await platform.stop()
        assert set(upstream.seen.values()) == {1}, "a request was sent twice"
        found = Counter(outputs.values())
        assert set(found) <= {"charged", "unknown"}
        assert found["unknown"] >= len(in_flight) > 0, (
            "nobody can know how a request ended that was in flight at the kill"
        )
        assert all(outputs[run] == "unknown" for run in in_flight)


@pytest.mark.timeout(120)
async def test_a_drained_platform_does_not_send_again_what_it_had_to_abort(tmp_path: Path) -> None:
    async with Upstream(delay_s=20.0) as upstream:
        env = {"UPSTREAM": upstream.url, "STEPWELL_DRAIN_SECONDS": "1"}
        platform = PlatformProcess(APP, tmp_path / "once.db", env)
        await platform.start()
        [event] = await platform.send([{"name": "once", "data": {}}])
        await upstream.reaches(1)
        await platform.stop()
        await platform.start()

        async def over() -> bool:
            return set((await platform.runs()).values()) == {"completed"}

        await platform.until(over)
        [run] = (await platform.get(f"/v1/events/{event}/runs"))["data"]
        await platform.stop()
        assert run["output"] == "unknown"
        assert set(upstream.seen.values()) == {1}
