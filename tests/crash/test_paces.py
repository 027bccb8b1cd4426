"""Paces hold over ``kill -9`` and restart: what was waiting waits on, for the same and until then, and newcomers too."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.crash.platform_process import PlatformProcess

APP = Path(__file__).with_name("paced_app.py")
KINDS = {
    "throttle": "function paced-throttled",
    "rate": "rate limit of host",
    "slow": "slow-down",
    "broken": "breaker",
}
"""What holds each kind up, in the words of a run."""


class Upstream:
    """A port for each kind, so that each is a host of its own; counts what came."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.ports: dict[str, int] = {}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Upstream"]:
        runners = [await self._serve(kind) for kind in KINDS]
        try:
            yield self
        finally:
            for runner in runners:
                await runner.cleanup()

    async def _serve(self, kind: str) -> web.AppRunner:
        async def answer(_: web.Request) -> web.Response:
            self.seen[kind] += 1
            if kind == "slow":
                return web.Response(status=429, headers={"Retry-After": "3600"})
            return web.Response(status=500 if kind == "broken" else 200)

        app = web.Application()
        app.router.add_get("/", answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.ports[kind] = runner.addresses[0][1]
        return runner

    def rules(self) -> dict[str, Any]:
        return {
            f"127.0.0.1:{self.ports['rate']}": {"rate": "1/1h"},
            f"127.0.0.1:{self.ports['broken']}": {
                "breaker": {"failures": 0.5, "min_requests": 2, "window": "1h", "open": "1h"},
                "slow_down": False,
            },
        }

    def event(self, kind: str) -> dict[str, Any]:
        name = "throttled" if kind == "throttle" else "free"
        return {"name": name, "data": {"url": f"http://127.0.0.1:{self.ports[kind]}/", "kind": kind}}


async def waiting(platform: PlatformProcess) -> dict[str, tuple[str, str]]:
    """What each run that has not ended waits for, and until when; empty while one of them can not say."""
    found: dict[str, tuple[str, str]] = {}
    for run_id, status in (await platform.runs()).items():
        if status == "completed":
            continue
        steps = (await platform.get(f"/v1/runs/{run_id}/steps"))["data"]
        if not steps or not ("waiting" in steps[0] or steps[0]["due_at"]):
            return {}
        held = steps[0].get("waiting") or {"for": "its next attempt", "until": steps[0]["due_at"]}
        found[run_id] = (held["for"], held["until"])
    return found


@pytest.mark.timeout(90)
async def test_paces_hold_over_kill_9(tmp_path: Path) -> None:
    async with Upstream().serving() as upstream:
        env = {"STEPWELL_HOSTS": json.dumps(upstream.rules())}
        platform = PlatformProcess(APP, tmp_path / "paced.db", env, "--retry-interval", "10ms")
        await platform.start()
        await platform.send([upstream.event(kind) for kind in KINDS])

        async def asked() -> bool:
            return upstream.seen.keys() == KINDS.keys()

        await platform.until(asked, 20)
        await platform.send([upstream.event(kind) for kind in KINDS for _ in range(3)])

        async def settled() -> bool:
            """Each kind is held up: of the paced ones one run went through, the failing ones all wait."""
            words = Counter(
                kind for said, _ in (await waiting(platform)).values() for kind in KINDS if KINDS[kind] in said
            )
            return words == {"throttle": 3, "rate": 3, "slow": 3, "broken": 4}

        await platform.until(settled, 20)
        before, seen = await waiting(platform), Counter(upstream.seen)
        assert seen["throttle"] == seen["rate"] == seen["slow"] == 1
        await platform.kill()
        await platform.start()
        assert await waiting(platform) == before
        newcomers = await platform.send([upstream.event(kind) for kind in KINDS])

        async def held() -> bool:
            return len(await waiting(platform)) == len(before) + len(newcomers)

        await platform.until(held, 20)
        assert {run: said for run, said in (await waiting(platform)).items() if run in before} == before
        assert upstream.seen == seen, "a pace was forgotten"
        await platform.kill()
