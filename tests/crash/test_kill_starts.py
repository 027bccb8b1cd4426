"""``kill -9`` while runs wait for slots and for a throttle: neither limit is exceeded, no slot leaks, nobody is lost."""

import os
import random
import sqlite3
from pathlib import Path

import msgspec
import pytest

from stepwell.core.model import Run
from tests.crash.platform_process import PlatformProcess
from tests.crash.upstream import Upstream

APP = Path(__file__).with_name("starts_app.py")
RUNS, SLOTS, RATE = 20, 2, 10
ROUNDS = 3 if os.environ.get("CI") == "true" else 1
LATE_S = 0.5
"""A call is begun and noted a little after its item was claimed."""


def started(db: Path) -> list[float]:
    """When each run's first call began, seconds."""
    with sqlite3.connect(f"file:{db}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT data FROM runs").fetchall()
    runs = [msgspec.msgpack.decode(row[0], type=Run) for row in rows]
    return sorted((run.started_at or 0) / 1000 for run in runs)


def held(db: Path) -> int:
    with sqlite3.connect(f"file:{db}?mode=ro", uri=True) as connection:
        return int(connection.execute("SELECT count(*) FROM holds").fetchone()[0])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_slots_and_throttle_hold_over_kills(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    async with Upstream() as upstream:
        platform = PlatformProcess(APP, tmp_path / "starts.db", {"UPSTREAM": upstream.url})
        await platform.start()
        await platform.send([{"name": "starts", "data": {"n": n}} for n in range(RUNS)])
        for low, high in ((2, 8), (10, 18), (20, 30)):
            await upstream.reaches(chance.randint(low, high))
            await platform.kill()
            assert held(platform.db) <= SLOTS
            await platform.start()

        async def over() -> bool:
            statuses = await platform.runs()
            return len(statuses) == RUNS and set(statuses.values()) == {"completed"}

        await platform.until(over)
        await platform.stop()
    assert held(platform.db) == 0, "a slot was not given back"
    active: set[str] = set()
    for run_id, part in upstream.steps.values():  # in the order in which they came first
        active ^= {run_id} if part == "charge 0" or run_id in active else set()
        assert len(active) <= SLOTS
    times = started(platform.db)
    assert len(times) == RUNS
    for first in range(RUNS):
        for last in range(first, RUNS):
            assert last - first + 1 <= 1 + (times[last] - times[first] + LATE_S) * RATE
