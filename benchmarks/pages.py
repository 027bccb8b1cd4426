"""The page of a run of 10,000 steps: how long the platform takes for it, and Chromium until it can be used."""

import statistics
import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import msgspec

from benchmarks.storage import database
from stepwell.core.model import Attempt, Run, RunStatus, Step, StepStatus
from stepwell.core.outputs import Commit
from stepwell.server.build import build_engine
from stepwell.server.host import bind
from stepwell.server.platform import Platform
from stepwell.server.settings import Settings
from stepwell.wire.ids import ulid

STEPS = 10_000
RUN = ulid(1_795_000_000_000, bytes(10))
_BEGAN = 1_795_000_000_000
_LOOKS = 5
_CHROMIUM = Path(__file__).parent.parent / "scripts" / "chromium.sh"


async def served(peer: str) -> float:
    """Milliseconds until the page is with a plain client, the median of some looks."""
    async with platform_with_run() as url, httpx2.AsyncClient(timeout=60, trust_env=False) as client:
        times: list[float] = []
        for _ in range(_LOOKS):
            began = time.perf_counter()
            (await client.get(f"{url}/runs/{RUN}")).raise_for_status()
            times.append(1000 * (time.perf_counter() - began))
        return statistics.median(times)


def has_chromium() -> bool:
    """Whether a page can be opened."""
    return subprocess.run(["sh", _CHROMIUM], stdout=subprocess.DEVNULL, check=False).returncode == 0


async def opened(peer: str) -> float:
    """Milliseconds from the address to a page that can be used, in Chromium."""
    from tests.browser.chromium import browsing

    async with platform_with_run() as url, browsing() as context:
        times: list[float] = []
        for _ in range(_LOOKS):
            page = await context.new_page()
            began = time.perf_counter()
            await page.goto(f"{url}/runs/{RUN}")
            await page.wait_for_selector("html[data-ready]")
            times.append(1000 * (time.perf_counter() - began))
            await page.close()
        return statistics.median(times)


@asynccontextmanager
async def platform_with_run(steps: int = STEPS) -> AsyncGenerator[str]:
    """A platform at a URL, and a run of so many steps that has ended: requests and plain steps."""
    listener = bind("127.0.0.1", 0)
    async with database() as db:
        settings = Settings(db=db, port=listener.getsockname()[1], discovery=False)
        platform = Platform(build_engine(settings), settings)
        await platform.start((), listener)
        try:
            await platform.engine.store.transact(run_of(steps))
            yield settings.url
        finally:
            await platform.stop(0)
            listener.close()


def run_of(count: int) -> list[Commit]:
    """The commits that store it."""
    steps = tuple(_step(number) for number in range(count))
    run = Run(
        run_id=RUN,
        function_id="shop-import",
        app_id="shop",
        status=RunStatus.COMPLETED,
        queued_at=_BEGAN,
        started_at=_BEGAN + 5,
        ended_at=_BEGAN + 30 * count,
        steps=count,
        completed=count,
        output=b'{"imported": true}',
    )
    return [Commit(now=_BEGAN, run=run, steps=steps)]


def _step(number: int) -> Step:
    at = _BEGAN + 30 * number
    request = number % 2 == 0
    phases = {"dns": 0.2, "connect": 1.0, "tls": 3.0, "first_byte": 11.0, "transfer": 2.0}
    attempt = Attempt(number=0, started_at=at + 2, ended_at=at + 20, status=200, phases=phases)
    url = f"https://api.example.com/orders/{number}"
    answer = {"status_code": 200, "headers": {"content-type": "application/json"}, "body": '{"order": 7}', "url": url}
    return Step(
        run_id=RUN,
        step_id=f"{number:040x}",
        name=f"GET api.example.com/orders/{number}" if request else f"store {number}",
        op="Gateway" if request else "StepRun",
        status=StepStatus.COMPLETED,
        number=number,
        position=number,
        memo=msgspec.json.encode({"data": answer if request else {"order": number}}),
        created_at=at,
        started_at=at + 2,
        ended_at=at + 20,
        info=msgspec.json.encode({"method": "GET", "url": url}) if request else None,
        attempts=(attempt,) if request else (),
    )
