"""``kill -9`` of the platform at any moment of the demo load: nothing accepted is lost, nothing recorded changes."""

import asyncio
import os
import random
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from stepwell.core.model import Step
from tests.crash.platform_process import PlatformProcess
from tests.crash.upstream import Upstream
from tests.ports import free_port

APP = Path(__file__).with_name("load_app.py")
RUNS = 50
ROUNDS = 6 if os.environ.get("CI") == "true" else 2


def recorded(db: Path) -> dict[tuple[str, str], bytes]:
    """The memo of every ended step in the file, read from a copy as the next process will find it."""
    with sqlite3.connect(f"file:{db}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT data FROM steps").fetchall()
    steps = [msgspec.msgpack.decode(row[0], type=Step) for row in rows]
    return {(step.run_id, step.name): step.memo or b"" for step in steps if step.ended}


async def all_over(platform: PlatformProcess) -> bool:
    statuses = await platform.runs()
    assert "failed" not in statuses.values()
    return len(statuses) == RUNS and set(statuses.values()) == {"completed"}


@asynccontextmanager
async def served(upstream: str) -> AsyncIterator[str]:
    """The functions in a process of their own, behind HTTP: its url."""
    port = free_port()
    command = [sys.executable, "-m", "tests.crash.served_app", str(port)]
    env = {**os.environ, "UPSTREAM": upstream, "STEPWELL_DEV": "1"}
    process = await asyncio.create_subprocess_exec(*command, env=env, cwd=Path(__file__).parents[2])
    try:
        yield f"http://127.0.0.1:{port}/api/stepwell"
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)


@pytest.mark.timeout(170)
@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_kill_9_in_the_middle_of_the_load(seed: int, tmp_path: Path) -> None:
    async with Upstream() as upstream:
        platform = PlatformProcess(APP, tmp_path / "load.db", {"UPSTREAM": upstream.url})
        await survive(platform, upstream, random.Random(seed))


@pytest.mark.timeout(170)
@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_kill_9_while_the_functions_live_on_behind_http(seed: int, tmp_path: Path) -> None:
    async with Upstream() as upstream, served(upstream.url) as url:
        platform = PlatformProcess(None, tmp_path / "load.db", {}, "-u", url, "--retry-interval", "200ms")
        await survive(platform, upstream, random.Random(seed))


async def survive(platform: PlatformProcess, upstream: Upstream, chance: random.Random) -> None:
    """Kill the platform three times within the load; then all has to end as if nothing had happened."""
    await platform.start()
    await platform.until(platform.has_functions)
    ids = await platform.send([{"name": "load", "data": {"n": n}} for n in range(RUNS)])
    assert len(ids) == RUNS
    kept: dict[tuple[str, str], bytes] = {}
    sizes: list[int] = []
    doubtful: Counter[str] = Counter()
    for low, high in ((5, 45), (55, 120), (125, 195)):
        await upstream.reaches(chance.randint(low, high))
        await platform.kill()
        before = recorded(platform.db)
        assert kept.items() <= before.items(), "a recorded result changed"
        kept = before
        sizes.append(len(kept))
        doubtful.update(key for key in upstream.seen if upstream.steps.get(key) not in kept)
        await platform.start()
    assert any(0 < size < RUNS * 6 for size in sizes), f"no kill fell into the load: {sizes}"
    await platform.until(lambda: all_over(platform), 60)
    await platform.stop()
    final = recorded(platform.db)
    assert kept.items() <= final.items(), "a recorded result changed"
    assert len(final) == RUNS * 6
    assert len(upstream.seen) == RUNS * 4, "a request had two idempotency keys"
    for key, count in upstream.seen.items():
        assert count <= 1 + doubtful[key], f"{upstream.steps[key]} was sent again although it was on record"


async def test_sigterm_drains_and_what_ended_in_time_is_not_sent_again(tmp_path: Path) -> None:
    async with Upstream(delay_s=0.5) as upstream:
        platform = PlatformProcess(APP, tmp_path / "load.db", {"UPSTREAM": upstream.url})
        await platform.start()
        await platform.send([{"name": "load", "data": {"n": n}} for n in range(5)])

        async def flying() -> bool:
            return upstream.flying.total() == 5

        await platform.until(flying)
        assert await platform.stop() == 0
        assert len(recorded(platform.db)) == 5, "what was in flight was not waited for"
        await platform.start()

        async def over() -> bool:
            return set((await platform.runs()).values()) == {"completed"}

        await platform.until(over)
        await platform.stop()
        assert set(upstream.seen.values()) == {1}
