"""While the database can not store, every request that would have something stored is told so, and to come again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from stepwell.testing.platform.postgres import PostgresServer
from tests.e2e.test_bad_disks import Disk
from tests.e2e.ugly import Call, Rig, api, bare, finish, ops, returned, step_run, until

SIGNAL = {"op": "WaitForSignal", "id": "w", "displayName": "w", "opts": {"signal": "s", "timeout": "1h"}}
LARGE = "x" * 20_000
Fail = Callable[[Rig], Awaitable[None]]


class Trouble:
    """A store that fails, and works again: the settings of a platform on it, and what makes it so."""

    def __init__(self, settings: dict[str, Any], fail: Fail, mend: Fail, *, readable: bool) -> None:
        self.settings = settings
        self.fail = fail
        self.mend = mend
        self.readable = readable
        """Whether what is stored can be read meanwhile."""


@asynccontextmanager
async def full_file(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Trouble]:
    disk = Disk()
    monkeypatch.setattr("stepwell.server.build.SQLiteStore", disk.make)

    async def fail(rig: Rig) -> None:
        await disk.limit(rig.platform, 1)

    async def mend(rig: Rig) -> None:
        await disk.limit(rig.platform, 1 << 40)

    yield Trouble({}, fail, mend, readable=True)


@asynccontextmanager
async def stopped_database(_: pytest.MonkeyPatch) -> AsyncIterator[Trouble]:
    server = PostgresServer()
    await asyncio.to_thread(server.start)
    settings = {"db": server.url, "encryption_keys": ("11" * 32,)}

    async def fail(rig: Rig) -> None:
        await asyncio.to_thread(server.stop)

    async def mend(rig: Rig) -> None:
        await asyncio.to_thread(server.start)

    try:
        yield Trouble(settings, fail, mend, readable=False)
    finally:
        server.remove()


TROUBLES = {"a file on a full disk": full_file, "a database that has stopped": stopped_database}


@asynccontextmanager
async def rig(trouble: Trouble, folder: Path) -> AsyncIterator[tuple[Rig, asyncio.Event]]:
    """A platform with a function that waits for a signal, or in a call until the event is set."""
    hold = asyncio.Event()

    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        data = call["event"]["data"]
        if data.get("wait") and not call["steps"]:
            return ops(SIGNAL)
        if data.get("hold"):
            await hold.wait()
        return returned("done")

    async with bare(folder, answer, **trouble.settings) as made:
        try:
            yield made, hold
        finally:
            hold.set()


def writing(held: str) -> list[tuple[str, str, Any]]:
    """Requests that have something stored: method, path, body. ``held``: a run that is in a call."""
    large = {"data": {"fill": LARGE}}
    report = {"run_id": held, "steps": [step_run("told", LARGE)]}
    many = {"app_id": "bare", "function_id": "bare-f", "started_before": "2020-01-01T00:00:00Z"}
    return [
        ("POST", "/e/key", {"name": "go", **large}),
        ("POST", "/invoke/bare-f", large),
        ("POST", "/v1/signals", {"signal": "s", "data": LARGE}),
        ("POST", f"/v1/checkpoint/{held}/async", report),
        ("DELETE", f"/v1/runs/{held}", None),
        ("POST", "/v1/cancellations", many),
    ]


async def the_run(made: Rig, event_id: str) -> str:
    """The run of an event, once the app has been called for it."""
    await until(lambda: any(call["event"]["id"] == event_id for call in made.endpoint.calls), 30)
    (run,) = (await api(made.platform, "GET", f"/v1/events/{event_id}/runs"))[2]["data"]
    return str(run["run_id"])


@pytest.mark.parametrize("name", TROUBLES)
async def test_nothing_is_confirmed_that_is_not_stored(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TROUBLES[name](monkeypatch) as trouble, rig(trouble, tmp_path) as (made, hold):
        held = await the_run(made, await made.platform.send("go", {"hold": True}))
        woken = await made.platform.send("go", {"wait": True})
        run = await the_run(made, woken)

        async def waits() -> bool:
            steps = (await api(made.platform, "GET", f"/v1/runs/{run}/steps"))[2]["data"]
            return bool(steps)

        await until(waits, 30)
        requests = writing(held)
        if trouble.readable:  # what is small finds room on a full disk as well
            requests = [each for each in requests if LARGE in msgspec.json.encode(each[2]).decode()]
        await trouble.fail(made)
        for method, path, body in requests:
            status, headers, said = await api(made.platform, method, path, json=body)
            assert (status, headers.get("retry-after")) == (503, "1"), (path, said)
            assert headers["content-type"] == "application/json"
            assert said["status"] == 503
            assert said["error"].endswith((".", ")")), said
            assert said["ids"] == [] if path == "/e/key" else said["code"] == "store"
        status, headers, _ = await api(made.platform, "GET", "/health")
        assert status == (200 if trouble.readable else 503)
        status, _, _ = await api(made.platform, "GET", f"/v1/runs/{run}")
        assert status == (200 if trouble.readable else 503)
        await trouble.mend(made)

        async def stored() -> bool:
            return (await api(made.platform, "POST", "/e/key", json={"name": "go", "id": "first"}))[0] == 200

        await until(stored, 30)
        for method, path, body in requests:
            status, _, said = await api(made.platform, method, path, json=body)

            assert 200 <= status < 300, (path, said)
        hold.set()
        assert (await finish(made.platform, woken, 40)).output == "done"
        runs = (await api(made.platform, "GET", "/v1/runs?limit=100"))[2]["data"]
        assert len(runs) == 5, "two before, one of 'first', one of each request that was taken the second time"
        assert (await api(made.platform, "GET", "/health"))[0] == 200
