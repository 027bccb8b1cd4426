"""``kill -9`` right after events, signals and a cancellation were accepted: who waited gets them, once, after the restart."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.crash.platform_process import PlatformProcess

APP = Path(__file__).with_name("waits_app.py")
RUNS = 120


async def outputs(http: httpx2.AsyncClient, name: str) -> list[tuple[str, object]]:
    """Status and output of a function's runs, in the order of their events."""
    query = {"function": f"waits-{name}", "limit": 1000}
    found = (await http.get("/v1/runs", params=query)).json()["data"]
    return [(run["status"], run.get("output")) for run in sorted(found, key=lambda run: run["run_id"])]


async def waiting(http: httpx2.AsyncClient, name: str) -> bool:
    query = {"function": f"waits-{name}", "limit": 1000}
    found = (await http.get("/v1/runs", params=query)).json()["data"]
    return len(found) == RUNS and all(run["steps"] == 1 for run in found)


async def over(http: httpx2.AsyncClient, name: str) -> bool:
    return all(status not in ("Queued", "Running") for status, _ in await outputs(http, name))


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[PlatformProcess]:
    process = PlatformProcess(APP, tmp_path / "waits.db", {})
    yield process
    await process.stop()


async def begun(platform: PlatformProcess, http: httpx2.AsyncClient, name: str) -> None:
    await platform.start()
    await platform.send([{"name": name, "data": {"n": n}} for n in range(RUNS)])
    await platform.until(lambda: waiting(http, name))


@pytest.mark.timeout(120)
async def test_events_that_were_accepted_are_handed_out(platform: PlatformProcess) -> None:
    async with httpx2.AsyncClient(base_url=platform.url, trust_env=False, timeout=20) as http:
        await begun(platform, http, "event")
        await platform.send([{"name": "paid", "data": {"n": n}} for n in range(RUNS)])
        await platform.kill()
        await platform.start()
        await platform.send([{"name": "paid", "data": {"n": n, "late": True}} for n in range(RUNS)])
        await platform.until(lambda: over(http, "event"))
        assert await outputs(http, "event") == [("Completed", n) for n in range(RUNS)]


@pytest.mark.timeout(120)
async def test_signals_that_were_taken_arrive(platform: PlatformProcess) -> None:
    async with httpx2.AsyncClient(base_url=platform.url, trust_env=False, timeout=20) as http:
        await begun(platform, http, "signal")
        signals = [http.post("/v1/signals", json={"signal": f"s{n}", "data": n}) for n in range(RUNS)]
        answers = await asyncio.gather(*signals)
        await platform.kill()
        assert [answer.status_code for answer in answers] == [200] * RUNS
        await platform.start()
        again = await asyncio.gather(*(http.post("/v1/signals", json={"signal": f"s{n}"}) for n in range(RUNS)))
        assert [answer.status_code for answer in again] == [404] * RUNS
        await platform.until(lambda: over(http, "signal"))
        assert await outputs(http, "signal") == [("Completed", n) for n in range(RUNS)]


@pytest.mark.timeout(120)
async def test_a_cancellation_that_was_accepted_ends_its_runs(platform: PlatformProcess) -> None:
    async with httpx2.AsyncClient(base_url=platform.url, trust_env=False, timeout=20) as http:
        await begun(platform, http, "end")
        (last, *_) = (await http.get("/v1/runs", params={"limit": 1})).json()["data"]
        body = {"app_id": "waits", "function_id": "end", "started_before": last["queued_at"], "if": "event.data.n != 3"}
        assert (await http.post("/v1/cancellations", json=body)).status_code == 200
        await platform.kill()
        await platform.start()

        async def ended() -> bool:
            return [status for status, _ in await outputs(http, "end")].count("Cancelled") == RUNS - 1

        await platform.until(ended)
        assert (await outputs(http, "end"))[3][0] == "Running"
