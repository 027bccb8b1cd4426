"""Limits of hosts, seen by an upstream that counts: concurrency, rate, slow-down, breaker, over runs and restarts."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from stepwell import Client, Context, FetchError, Throttle, TriggerEvent, embedded
from stepwell.cli.tree import render
from stepwell.core.flow.host_rules import parse_hosts
from tests.e2e.ugly import api, until
from tests.e2e.ugly import platform as running

GO = TriggerEvent(event="go")


class Upstream:
    """Counts what is in flight and when each came; answers ``replies`` first, then 200."""

    def __init__(self, hold: float = 0.0) -> None:
        self.hold = hold
        self.flying = self.most = 0
        self.times: list[float] = []
        self.replies: list[tuple[int, dict[str, str]]] = []
        self.host = ""

    async def handle(self, _: web.Request) -> web.Response:
        self.flying += 1
        self.most = max(self.most, self.flying)
        self.times.append(time.monotonic())
        await asyncio.sleep(self.hold)
        self.flying -= 1
        status, headers = self.replies.pop(0) if self.replies else (200, {})
        return web.Response(status=status, headers=headers, text="ok")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Upstream"]:
        app = web.Application()
        app.router.add_get("/{name}", self.handle)
        async with TestServer(app) as server:
            self.host = f"{server.host}:{server.port}"
            yield self

    def url(self, name: object) -> str:
        return f"http://{self.host}/{name}"


def fetching(up: Upstream, many: int, **options: Any) -> Client:
    """An app with one function that fetches ``many`` at once."""
    client = Client(app_id="hosts")

    @client.create_function(fn_id="f", trigger=GO, **options)
    async def f(ctx: Context) -> list[int]:
        found = await asyncio.gather(*(ctx.step.fetch(up.url(n), id=f"n{n}") for n in range(many)))
        return [response.status_code for response in found]

    return client


async def test_concurrency_of_a_host_counts_all_runs(tmp_path: Path) -> None:
    async with Upstream(hold=0.01).serving() as up:
        rules = {up.host: {"concurrency": 3}}
        async with embedded(fetching(up, 12), db=f"sqlite:///{tmp_path}/a.db", hosts=rules) as platform:
            events = [await platform.send("go") for _ in range(3)]
            for event in events:
                (result,) = await platform.wait(event, 20)
                assert result.output == [200] * 12
        assert up.most == 3
        assert len(up.times) == 36


@pytest.mark.parametrize("kind", ["host", "function"])
async def test_a_rate_holds_over_a_restart(tmp_path: Path, kind: str) -> None:
    async with Upstream().serving() as up:
        rules = {up.host: {"rate": "10/s", "burst": 2}} if kind == "host" else {}
        throttle = {"fetch_throttle": Throttle(limit=10, period="1s", burst=3)} if kind == "function" else {}
        db = f"sqlite:///{tmp_path}/a.db"
        async with embedded(fetching(up, 12, **throttle), db=db, hosts=rules, drain=1) as platform:
            event = await platform.send("go")
            await until(lambda: len(up.times) >= 5)
        async with embedded(fetching(up, 12, **throttle), db=db, hosts=rules) as platform:
            (result,) = await platform.wait(event, 20)
            assert result.output == [200] * 12
        assert len(up.times) == 12
        for first in range(12):
            for last in range(first, 12):
                # half a second for what comes later than it was sent: without the rate all would come at once
                assert last - first + 1 <= 3 + (up.times[last] - up.times[first] + 0.5) * 10


async def test_a_host_that_says_when_slows_every_run_down(tmp_path: Path) -> None:
    async with Upstream().serving() as up:
        up.replies.append((429, {"retry-after": "1"}))
        async with embedded(fetching(up, 1), db=f"sqlite:///{tmp_path}/a.db") as platform:
            first = await platform.send("go")
            await until(lambda: len(up.times) == 1 and not up.flying)
            await asyncio.sleep(0.2)
            second = await platform.send("go")
            for event in (first, second):
                (result,) = await platform.wait(event, 20)
                assert result.output == [200]
        assert len(up.times) == 3
        assert all(at - up.times[0] >= 0.95 for at in up.times[1:])
        assert up.times[2] - up.times[1] >= 0.15, "after the wait, one after the other"


async def test_a_run_says_what_it_waits_for(tmp_path: Path) -> None:
    async with Upstream().serving() as up:
        rules = parse_hosts({up.host: {"rate": "1/1h"}})
        async with running(tmp_path, fetching(up, 2), hosts=rules) as platform:
            await platform.send("go")
            await until(lambda: len(up.times) == 1)
            (run,) = (await api(platform, "GET", "/v1/runs"))[2]["data"]
            run_id = run["run_id"]

            async def waits() -> bool:
                shown = (await api(platform, "GET", f"/v1/runs/{run_id}/steps"))[2]
                return [step.get("waiting", {}).get("for") for step in shown["data"]].count(
                    f"rate limit of host {up.host}"
                ) == 1

            await until(waits)
            shown = (await api(platform, "GET", f"/v1/runs/{run_id}/steps"))[2]
            text = "\n".join(render(shown["metadata"]["run"], shown["data"]))
            assert f"waiting for the rate limit of host {up.host} until" in text


@pytest.mark.parametrize(
    ("rule", "replies", "words"),
    [
        ({"concurrency": 1}, [], "concurrency limit"),
        ({"rate": "5/s"}, [], "rate limit"),
        ({"concurrency": 1}, [(429, {"retry-after": "1"})], "slow-down"),
        ({"concurrency": 1, "breaker": {"min_requests": 1, "open": "300ms"}}, [(500, {})], "circuit breaker"),
    ],
)
async def test_an_attempt_says_what_it_had_waited_for(
    tmp_path: Path, rule: dict[str, Any], replies: list[tuple[int, dict[str, str]]], words: str
) -> None:
    async with Upstream(hold=0.05).serving() as up:
        up.replies += replies
        rules = parse_hosts({up.host: rule})
        async with running(tmp_path, fetching(up, 3), hosts=rules) as platform:
            await platform.wait(await platform.send("go"), 30)
            (run,) = (await api(platform, "GET", "/v1/runs"))[2]["data"]
            shown = (await api(platform, "GET", f"/v1/runs/{run['run_id']}/steps"))[2]
            held = [attempt for step in shown["data"] for attempt in step["attempts"] if "held_by" in attempt]
            assert any(one.startswith(f"{words} of host {up.host}") for attempt in held for one in attempt["held_by"])
            assert all(attempt["held_ms"] >= 0 for attempt in held)
            text = "\n".join(render(shown["metadata"]["run"], shown["data"]))
            assert re.search(rf"waited [^ ]+ m?s for the .*{words} of host {up.host}.*, then  HTTP 200", text)


async def test_a_breaker_stops_asking_and_comes_back(tmp_path: Path) -> None:
    async with Upstream().serving() as up:
        up.replies += [(500, {})] * 4
        rules = {up.host: {"breaker": {"failures": 0.5, "min_requests": 4, "window": "10s", "open": "700ms"}}}
        async with embedded(
            fetching(up, 4), db=f"sqlite:///{tmp_path}/a.db", hosts=rules, retry_interval=0.3
        ) as platform:
            (result,) = await platform.wait(await platform.send("go"), 20)
            assert result.output == [200] * 4
        assert len(up.times) == 8
        assert up.times[4] - up.times[3] >= 0.65


async def test_a_deadline_ends_the_waiting(tmp_path: Path) -> None:
    client = Client(app_id="hosts")
    async with Upstream().serving() as up:

        @client.create_function(fn_id="f", trigger=GO)
        async def f(ctx: Context) -> str:
            await ctx.step.fetch(up.url(1), id="first")
            try:
                await ctx.step.fetch(up.url(2), id="second", deadline=0.4)
            except FetchError as error:
                return error.kind
            return "sent"

        rules = {up.host: {"rate": "1/1h"}}
        async with embedded(client, db=f"sqlite:///{tmp_path}/a.db", hosts=rules) as platform:
            began = time.monotonic()
            (result,) = await platform.wait(await platform.send("go"), 20)
            assert result.output == "timeout"
            assert time.monotonic() - began < 5
        assert len(up.times) == 1
