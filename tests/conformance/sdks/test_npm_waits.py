"""The official npm SDK, unmodified: waitForEvent, waitForSignal, sendSignal, cancelOn, and a function that cleans up."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.sdks.conftest import Pair, pair

APP = Path(__file__).parent / "waits_app.mjs"
MODULES = Path(__file__).parents[3] / "examples" / "typescript"
APPS = {"node": "/api/inngest", "plain": "/api/plain"}

pytestmark = [pytest.mark.node, pytest.mark.parametrize("app", list(APPS))]


@pytest.fixture
async def node(tmp_path: Path, app: str) -> AsyncIterator[Pair]:
    async with pair(tmp_path, ["node", str(APP)], cwd=MODULES, sync=APPS[app]) as running:
        yield running


async def begun(node: Pair, event: str, data: dict[str, Any]) -> str:
    """Start a run, and wait until its first step waits; the event's id."""
    (event_id,) = (await node.api.post("/e/test", json={"name": event, "data": data})).json()["ids"]
    async with asyncio.timeout(20):
        while True:
            runs = (await node.api.get(f"/v1/events/{event_id}/runs")).json()["data"]
            if runs and await node.steps(runs[0]):
                return event_id
            await asyncio.sleep(0.02)


async def ended(node: Pair, event_id: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            (run,) = (await node.api.get(f"/v1/events/{event_id}/runs")).json()["data"]
            if run["status"] in {"Completed", "Failed", "Cancelled"}:
                return run
            await asyncio.sleep(0.02)


async def send(node: Pair, name: str, **data: Any) -> None:
    assert (await node.api.post("/e/test", json={"name": name, "data": data})).status_code == 200


async def test_events_wake_who_waits_for_them(node: Pair, app: str) -> None:
    first = await begun(node, f"{app}/waits", {"order": 1, "timeout": "1h"})
    matching = await begun(node, f"{app}/matches", {"order": 2})
    late = await begun(node, f"{app}/waits", {"order": 3, "timeout": "1s"})
    await send(node, f"{app}/paid", order=1, amount=5)
    await send(node, f"{app}/paid", order=2, amount=20)
    await send(node, f"{app}/paid", order=1, amount=11)
    assert (await ended(node, first))["output"] == [f"{app}/paid", {"order": 1, "amount": 11}]
    assert (await ended(node, matching))["output"] == 20
    assert (await ended(node, late))["output"] is None


async def test_signals_wake_the_one_who_waits(node: Pair, app: str) -> None:
    first = await begun(node, f"{app}/asks", {"signal": "s", "timeout": "1h", "onConflict": "fail"})
    (sent,) = await node.run(f"{app}/answers", {"signal": "s", "data": {"yes": 1}})
    assert sent["status"] == "Completed"
    run = await ended(node, first)
    assert run["output"] == {"signal": "s", "data": {"yes": 1}}
    assert sent["output"] == {"runId": run["run_id"]}
    (nobody,) = await node.run(f"{app}/answers", {"signal": "s"})
    assert nobody["status"] == "Completed"
    assert not (nobody["output"] or {}).get("runId")


async def test_two_that_wait_for_one_signal(node: Pair, app: str) -> None:
    first = await begun(node, f"{app}/asks", {"signal": "s", "timeout": "2s", "onConflict": "fail"})
    (second,) = await node.run(f"{app}/asks", {"signal": "s", "timeout": "1h", "onConflict": "fail"})
    assert second["status"] == "Failed"
    assert "signal conflict" in str(second["output"])
    third = await begun(node, f"{app}/asks", {"signal": "s", "timeout": "1h", "onConflict": "replace"})
    await node.run(f"{app}/answers", {"signal": "s", "data": 3})
    assert (await ended(node, third))["output"] == {"signal": "s", "data": 3}
    assert (await ended(node, first))["output"] is None


async def test_an_event_ends_a_run_and_another_function_cleans_up(node: Pair, app: str) -> None:
    first, second = [await begun(node, f"{app}/endable", {"order": number}) for number in (1, 2)]
    await send(node, f"{app}/end", order=2)
    assert (await ended(node, second))["status"] == "Cancelled"
    async with asyncio.timeout(20):
        while await node.ran() != [f"{app}:cleaned 2"]:
            await asyncio.sleep(0.02)
    (run,) = (await node.api.get(f"/v1/events/{first}/runs")).json()["data"]
    assert run["status"] == "Running"
