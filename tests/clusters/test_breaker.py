"""The breaker of a host over three servers on one PostgreSQL: while it is open all together send one request at its time."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from stepwell.core.flow.gates import Reason
from tests.clusters.cluster import Cluster, cluster
from tests.clusters.counting_app import FAILURES, Seen

OPEN_S = 4
PROBES = 2 if os.environ.get("CI") == "true" else 0
"""So many have failed at least before the host is well again."""
LATER = 18
SLACK_S = 0.05
"""The servers have another clock than the app."""
RULE: dict[str, object] = {
    "slow_down": False,
    "breaker": {"failures": 1, "min_requests": FAILURES, "window": "10m", "open": f"{OPEN_S}s"},
}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(40):
        while not await condition():
            await asyncio.sleep(0.05)


async def failures(servers: Cluster) -> list[Seen]:
    """What the host has answered while it failed."""
    return [one for one in await servers.seen() if one.what == "broken-host" and one.ended]


async def played(servers: Cluster) -> list[Seen]:
    """The breaker opens, work comes in at all servers, probes fail, and then one does not: all that the host has seen."""

    async def opened() -> bool:
        found = await servers.store.held(int(time.time() * 1000), 1)
        return any(one.shut.reason is Reason.BREAKER for one in found)

    async def probed() -> bool:
        return len(await failures(servers)) >= FAILURES + PROBES

    event = {"name": "broken-host", "data": {}}
    for number in range(FAILURES):
        await servers.send([event], servers.servers[number % 3])
    await until(opened)
    for number in range(LATER):
        await servers.send([event], servers.servers[number % 3])
    await until(probed)
    await servers.mend()
    await until(servers.over)
    return [one for one in await servers.seen() if one.what.endswith("-host")]


@pytest.mark.timeout(150)
async def test_three_servers_send_one_request_when_the_time_of_a_breaker_has_come(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    seed = request.config.getoption("randomly_seed", 1)
    async with cluster(tmp_path, ({}, {}, RULE), seed) as servers:
        seen = sorted(await played(servers), key=lambda one: one.began)
        assert len(servers.owners) == 3
    failed = [one for one in seen if one.what == "broken-host"]
    mended = [one for one in seen if one.what == "mended-host"]
    assert len(mended) == len({one.run for one in mended}) == FAILURES + LATER
    opened_at = max(one.ended for one in failed[:FAILURES])
    for probe in (*failed[FAILURES:], mended[0]):
        assert probe.began >= opened_at + OPEN_S - SLACK_S, "it was sent before the time, or beside another one"
        opened_at = probe.ended
    assert min(one.began for one in mended[1:]) >= mended[0].ended, "it was sent while the probe was under way"
