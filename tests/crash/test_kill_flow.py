"""``kill -9`` while events wait in batches and debounces: each is in one run, or superseded, as if nothing had been."""

from pathlib import Path

import pytest

from tests.crash.platform_process import PlatformProcess

APP = Path(__file__).with_name("flow_app.py")


@pytest.mark.timeout(60)
async def test_no_event_of_a_batch_or_debounce_is_lost_or_doubled_by_kills(tmp_path: Path) -> None:
    platform = PlatformProcess(APP, tmp_path / "flow.db", {})
    await platform.start()
    for part in range(3):
        numbers = range(part * 10, part * 10 + 10)
        await platform.send([{"name": name, "data": {"n": n}} for n in numbers for name in ("batch", "calm")])
        waiting = (await platform.get("/v1/runs?status=queued"))["data"]
        shown = (await platform.get(f"/v1/runs/{waiting[0]['run_id']}/steps"))["metadata"]["run"]
        assert shown["waiting"]["for"] == "next events of its debounce or batch"
        assert shown["waiting"]["until"] > shown["queued_at"]
        await platform.kill()
        assert "queued" in (await platform.runs()).values(), "nothing waited when the platform was killed"
        await platform.start()

    async def over() -> bool:
        return set((await platform.runs()).values()) == {"completed"}

    await platform.until(over, 40)
    runs = (await platform.get("/v1/runs?limit=200"))["data"]
    await platform.stop()
    batches = [run["output"] for run in runs if run["function"] == "flow-batch"]
    assert sorted(n for found in batches for n in found) == list(range(30))
    assert all(found == sorted(found) and len(found) <= 7 for found in batches)
    calm = [run["output"] for run in runs if run["function"] == "flow-calm"]
    newest = [found[-1] for found in calm]
    assert all(len(found) == 1 for found in calm)
    assert {25, 26, 27, 28, 29} <= set(newest)
    assert len(newest) == len(set(newest)), "an event had two runs"
