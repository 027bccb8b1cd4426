"""The official SDKs, unmodified, use every feature of the function model: npm v4 and v3, PyPI; the same functions, the same
outcomes. One app and one platform for each SDK; each test has names and keys of its own."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import inngest
import pytest
import pytest_asyncio

from tests.conformance.sdks.conftest import Pair, pair

HERE = Path(__file__).parent
SDKS = {
    "npm-v4": ["node", str(HERE / "features_app.mjs"), "inngest"],
    "npm-v3": ["node", str(HERE / "features_app.mjs"), "inngest-v3"],
    "pypi": [sys.executable, str(HERE / "features_app.py")],
}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(
    scope="module",
    params=[pytest.param(sdk, marks=pytest.mark.node) if sdk.startswith("npm") else sdk for sdk in SDKS],
)
def sdk(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory, sdk: str) -> AsyncIterator[Pair]:
    async with pair(tmp_path_factory.mktemp(sdk), SDKS[sdk], cwd=HERE / "npm") as running:
        yield running


async def until(app: Pair, seen: Callable[[list[str]], bool]) -> list[str]:
    """What the app has noted, once that is enough."""
    async with asyncio.timeout(30):
        while not seen(ran := await app.ran()):
            await asyncio.sleep(0.05)
    return ran


async def send(app: Pair, name: str, *datas: dict[str, Any]) -> list[str]:
    body = [{"name": f"f/{name}", "data": data} for data in datas]
    return (await app.api.post("/e/test", json=body)).json()["ids"]


async def started(app: Pair, event_id: str) -> str:
    """The run that the event started, once its step waits or it has ended."""
    async with asyncio.timeout(30):
        while True:
            found = (await app.api.get(f"/v1/events/{event_id}/runs")).json()["data"]
            if found and (await app.api.get(f"/v1/runs/{found[0]['run_id']}/steps")).json()["data"]:
                return found[0]["run_id"]
            await asyncio.sleep(0.05)


async def ends(app: Pair, ids: list[str]) -> list[dict[str, Any]]:
    return list(await asyncio.gather(*(app._end(event_id) for event_id in ids)))


async def outputs(app: Pair, ids: list[str]) -> list[Any]:
    runs = await ends(app, ids)
    assert [run["status"] for run in runs] == ["Completed"] * len(runs), runs
    return [run["output"] for run in runs]


async def output(app: Pair, name: str, **data: Any) -> Any:
    (found,) = await outputs(app, await send(app, name, data))
    return found


async def test_waiting_for_events(app: Pair) -> None:
    ids = await send(app, "waits", {"me": "x"}, {"me": "y"})
    for event_id in ids:
        await started(app, event_id)
    await send(app, "reply", {"to": "y", "text": "for y"}, {"to": "x", "text": "for x"})
    assert await outputs(app, ids) == ["for x", "for y"]
    assert await output(app, "waits-in-vain") is None


async def test_signals(app: Pair, sdk: str) -> None:
    if sdk == "pypi":
        assert not hasattr(inngest.Step, "wait_for_signal"), "it has signals now: have features_app.py use them"
        return
    ids = await send(app, "signalled", {"signal": "s1", "timeout": "30s"})
    await started(app, ids[0])
    await output(app, "signals", signal="s1")
    assert await outputs(app, ids) == [{"text": "hello"}]
    assert await output(app, "signalled", signal="s2", timeout="1s") is None
    ids = await send(app, "signalled", {"signal": "s3", "timeout": "30s"})
    run_id = await started(app, ids[0])
    answer = await app.api.post("/v1/signals", json={"signal": "s3", "data": 5})
    assert answer.json()["data"] == {"run_id": run_id}
    assert await outputs(app, ids) == [5]
    assert (await app.api.post("/v1/signals", json={"signal": "nobody", "data": 5})).status_code == 404


async def test_functions_that_invoke_functions(app: Pair) -> None:
    assert await output(app, "invokes") == [4, 6]
    assert await output(app, "invokes-badly", bad=True, n=1) == [True, "a bad child"]
    is_step_error, message = await output(app, "invokes-badly", slow=True, n=1)
    assert (is_step_error, "Timed out" in message) == (True, True)
    ran = await until(app, lambda ran: len([text for text in ran if text.startswith("finished")]) == 3)
    assert sorted(text for text in ran if text.startswith("finished")) == [
        "finished f-child Completed",
        "finished f-child Completed",
        "finished f-child Failed",
    ]


async def test_steps_that_send_sleep_and_settle(app: Pair) -> None:
    assert await output(app, "sends") == 2
    await until(app, lambda ran: {"sent 1", "sent 2"} <= set(ran))
    assert await output(app, "until") >= 0
    assert await output(app, "settles") == ["fulfilled", "rejected"]


async def test_races(app: Pair) -> None:
    assert await output(app, "races") == "quick"


async def test_triggers(app: Pair) -> None:
    assert await output(app, "wild.thing") == "f/wild.thing"
    await send(app, "some", {"n": 1}, {"n": 2})
    await send(app, "other", {"n": 0})
    ran = await until(app, lambda ran: {"some 2", "some 0"} <= set(ran))
    assert "some 1" not in ran


async def test_throttle_spreads_the_starts(app: Pair) -> None:
    found = await outputs(app, await send(app, "throttled", {"n": 1}, {"n": 2}, {"n": 3}))
    times = sorted(int(text.split()[0]) for text in found)
    assert times[2] - times[0] >= 1_800
    assert [text.split()[1] for text in sorted(found)] == ["1", "2", "3"]


async def test_rate_limit_and_idempotency_drop(app: Pair) -> None:
    await send(app, "rated", *[{"user": user} for user in "aaaab"])
    await send(app, "once", {"order": 1}, {"order": 1}, {"order": 2})
    await until(app, lambda ran: {"rated b", "once 2"} <= set(ran))
    await output(app, "wild.end")
    ran = await app.ran()
    assert [ran.count("rated a"), ran.count("rated b")] == [2, 1]
    assert [ran.count("once 1"), ran.count("once 2")] == [1, 1]


async def test_debounce_and_batches(app: Pair) -> None:
    await send(app, "debounced", *[{"user": "a", "n": n} for n in range(4)], {"user": "b", "n": 9})
    ids = await send(app, "batched", *[{"n": n} for n in range(4)])
    first, *_, last = await outputs(app, ids)
    assert (first, last) == ([0, 1, 2], [3])
    ran = await until(app, lambda ran: {"debounced 3", "debounced 9"} <= set(ran))
    assert len([text for text in ran if text.startswith("debounced")]) == 2


async def test_singletons(app: Pair) -> None:
    first, *_ = ids = await send(app, "single", {"user": "a"})
    await started(app, first)
    ids += await send(app, "single", {"user": "a"}, {"user": "b"})
    assert [run["status"] for run in await ends(app, ids)] == ["Completed", "Skipped", "Completed"]
    ids = await send(app, "newest", {"n": 1, "long": True})
    await started(app, ids[0])
    ids += await send(app, "newest", {"n": 2})
    assert [run["status"] for run in await ends(app, ids)] == ["Cancelled", "Completed"]


async def test_priority_and_concurrency(app: Pair) -> None:
    ids = await send(app, "important", {"n": -1})
    await until(app, lambda ran: "important -1" in ran)
    ids += await send(app, "important", {"n": 0}, {"n": 0}, {"n": 100})
    await outputs(app, ids)
    ran = [text for text in await app.ran() if text.startswith("important")]
    assert ran == ["important -1", "important 100", "important 0", "important 0"]
    await outputs(app, await send(app, "by-key", *[{"user": user} for user in "aaabbc"]))
    now: list[str] = []
    for text in await app.ran():
        word, _, user = text.partition(" ")
        if word == "begin":
            assert user not in now
            now.append(user)
            assert len(now) <= 2
        elif word == "end":
            now.remove(user)


async def test_ends_that_are_none_of_the_functions_doing(app: Pair) -> None:
    ids = await send(app, "cancelled", {"n": 1})
    ids += await send(app, "too-long", {})
    await started(app, ids[0])
    late = await send(app, "too-late", {"n": 1}, {"n": 2})
    await send(app, "cancel", {"n": 2}, {"n": 1})
    assert [run["status"] for run in await ends(app, ids)] == ["Cancelled", "Cancelled"]
    await until(app, lambda ran: "cleaned up after 1" in ran)
    assert sorted(run["status"] for run in await ends(app, late)) == ["Cancelled", "Completed"]
    (run,) = await ends(app, await send(app, "fails", {"n": 7}))
    assert run["status"] == "Failed"
    await until(app, lambda ran: "failed: broken of 7" in ran)


@pytest.mark.node
@pytest.mark.timeout(120)
@pytest.mark.skipif(
    os.environ.get("CI") != "true", reason="a schedule has whole minutes, and this waits for the next one"
)
async def test_cron(tmp_path: Path) -> None:
    async def ticks(sdk: str) -> None:
        async with pair(tmp_path / sdk, SDKS[sdk], cwd=HERE / "npm") as app, asyncio.timeout(90):
            while "cron" not in await app.ran():
                await asyncio.sleep(0.5)

    await asyncio.gather(*map(ticks, SDKS))
