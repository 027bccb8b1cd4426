"""The realtime clients of the unmodified npm SDKs, which subscribe over a WebSocket and publish, against the platform."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

import stepwell
from tests.e2e.ugly import finish, platform

pytestmark = pytest.mark.node
PROBE = Path(__file__).with_name("realtime_probe.mjs")
client = stepwell.Client("live")


async def test_the_official_client_reads_and_publishes(tmp_path: Path) -> None:
    pipe = asyncio.subprocess.PIPE
    async with platform(tmp_path, client) as running:
        command = ["node", "--experimental-websocket", str(PROBE), running.url]
        folder = PROBE.parent / "npm"
        node = await asyncio.create_subprocess_exec(*command, cwd=folder, env=dict(os.environ), stdin=pipe, stdout=pipe)
        assert node.stdout is not None
        assert node.stdin is not None

        async def line() -> Any:
            assert node.stdout is not None
            return json.loads(await asyncio.wait_for(node.stdout.readline(), 30))

        try:
            assert await line() == "ready"
            await client.publish("order/1", "progress", {"from": "python"}, run_id="r")
            await client.publish("order/2", "progress", "not for you")
            found = await line()
            assert found == {
                "channel": "order/1",
                "topic": "progress",
                "data": {"from": "python"},
                "runId": "r",
                "kind": "data",
                "envId": "00000000-0000-0000-0000-000000000000",
                "dated": True,
            }
            for command, data in (("publish", {"done": 1}), ("text", "words")):
                node.stdin.write(f"{command}\n".encode())
                assert (await line())["data"] == data
            node.stdin.write(b"leave\n")
            assert await asyncio.wait_for(node.wait(), 20) == 0
        finally:
            if node.returncode is None:
                node.kill()
                await node.wait()


async def test_the_package_of_version_3_publishes_from_a_function_and_reads(tmp_path: Path) -> None:
    async with platform(tmp_path) as running:
        probe = PROBE.with_name("realtime_v3_probe.mjs")
        command = ["node", "--experimental-websocket", str(probe), running.url]
        pipe, folder = asyncio.subprocess.PIPE, PROBE.parent / "npm"
        node = await asyncio.create_subprocess_exec(*command, cwd=folder, env=dict(os.environ), stdout=pipe)

        async def line() -> Any:
            assert node.stdout is not None
            return json.loads(await asyncio.wait_for(node.stdout.readline(), 30))

        try:
            assert await line() == [200, "string"]
            result = await finish(running, await running.send("tell", {}))
            assert result.output == "told"
            found = [await line() for _ in range(2)]
        finally:
            node.kill()
            await node.wait()
    same = {"channel": "order/1", "topic": "progress", "runId": result.run_id, "kind": "data", "dated": True}
    zero = "00000000-0000-0000-0000-000000000000"
    assert found == [{**same, "data": data, "envId": zero} for data in ({"n": 1}, "two")]
