"""Two ``stepwell serve`` on one PostgreSQL: whoever works on a run, readers at both see it live."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from stepwell.testing.platform.postgres import clean_database
from stepwell.wire.signing import hashed_key
from tests.crash.serve_process import KEY, KEYS, ServeProcess, serving
from tests.ports import free_port

FIRST, SECOND = b"one " * 3_000, b"two"
WAIT_S = 40
AUTH = {"authorization": f"Bearer {hashed_key(KEY)}"}
Event = tuple[str, dict[str, Any]]


class Slow:
    """Sends the second half of its body when the gate is opened."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/plain"})
        await response.prepare(request)
        await response.write(FIRST)
        self.asked.set()
        await self.gate.wait()
        await response.write(SECOND)
        return response


@asynccontextmanager
async def platforms(folder: Path, slow: Slow) -> AsyncIterator[list[ServeProcess]]:
    url, port = await clean_database(), free_port()
    app = web.Application()
    app.router.add_get("/", slow.handle)
    async with TestServer(app) as server:
        made = [
            ServeProcess(url, folder / "first.db", "-u", f"http://127.0.0.1:{port}/api/stepwell"),
            ServeProcess(url, folder / "second.db"),
        ]
        env = {"UPSTREAM": str(server.make_url("/")), "STEPWELL_BASE_URL": made[0].url}
        async with serving("tests.crash.live_app", str(port), env=env):
            try:
                for each in made:
                    await each.start()
                    await each.until(each.has_functions)
                yield made
            finally:
                slow.gate.set()
                for each in made:
                    await each.stop()


@asynccontextmanager
async def reading(url: str, **options: Any) -> AsyncIterator[aiohttp.StreamReader]:
    timeout = aiohttp.ClientTimeout(total=None, sock_read=WAIT_S)
    async with aiohttp.ClientSession(timeout=timeout, **options) as session, session.get(url) as made:
        assert made.status == 200, await made.text()
        yield made.content


async def until(stream: aiohttp.StreamReader, name: str, field: str = "", wanted: object = None) -> list[Event]:
    """All events up to the first one of this name, whose data has ``wanted`` in a field."""
    found: list[Event] = []
    kind = "message"
    async with asyncio.timeout(WAIT_S):
        async for line in stream:
            text = line.decode().rstrip("\n")
            if text.startswith("event: "):
                kind = text.removeprefix("event: ")
            elif text.startswith("data: "):
                found.append((kind, json.loads(text.removeprefix("data: "))))
                if kind == name and (not field or found[-1][1].get(field) == wanted):
                    return found
                kind = "message"
    raise AssertionError(f"the stream has ended after {found}")


async def token(platform: ServeProcess, *topics: tuple[str, str]) -> str:
    body = [{"channel": channel, "name": name} for channel, name in topics]
    async with aiohttp.ClientSession(headers=AUTH) as session:
        answer = await session.post(f"{platform.url}/v1/realtime/token", json=body)
        return str((await answer.json())["jwt"])


async def cookie(platform: ServeProcess) -> str:
    async with aiohttp.ClientSession() as session:
        answer = await session.post(f"{platform.url}/login", data={"key": KEY}, allow_redirects=False)
        return answer.headers["set-cookie"].partition(";")[0]


@asynccontextmanager
async def tail(platform: ServeProcess) -> AsyncIterator[asyncio.StreamReader]:
    command = [str(Path(sys.executable).with_name("stepwell")), "tail", "--json", "--url", platform.url]
    env = {**os.environ, **KEYS}
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def looks(lines: asyncio.StreamReader, platform: ServeProcess) -> None:
    """Wait until the tail has begun: send events until it tells of one."""
    async with asyncio.timeout(WAIT_S):
        first = asyncio.create_task(lines.readline())
        while not first.done():
            await platform.send([{"name": "is it there?"}])
            await asyncio.wait([first], timeout=0.3)


async def run_of(platform: ServeProcess, event_id: str) -> str:
    async with asyncio.timeout(WAIT_S):
        while not (found := (await platform.get(f"/v1/events/{event_id}/runs"))["data"]):
            await asyncio.sleep(0.05)
        return str(found[0]["run_id"])


async def ready(stream: aiohttp.StreamReader) -> aiohttp.StreamReader:
    assert await stream.readline() == b": ready\n"
    return stream


@pytest.mark.timeout(170)
async def test_a_run_is_seen_live_at_both(tmp_path: Path) -> None:
    """The body of its request while it arrives, what it publishes, its steps and its end; pages; the command line. And what
    is published at one is heard at the other."""
    slow = Slow()
    async with platforms(tmp_path, slow) as both, AsyncExitStack() as stack:
        enter = stack.enter_async_context
        pages = [await enter(reading(f"{each.url}/live", headers={"cookie": await cookie(each)})) for each in both]
        for page in pages:
            await until(page, "ready")
        lines = await enter(tail(both[1]))
        await looks(lines, both[0])
        (event_id,) = await both[0].send([{"name": "live", "data": {}}])
        run_id = await run_of(both[1], event_id)
        await asyncio.wait_for(slow.asked.wait(), WAIT_S)
        for page in pages:
            while (told := (await until(page, "changed"))[-1][1]["runs"]) is not None and run_id not in told:
                pass  # what came of the events before

        at = f"/v1/runs/{run_id}/steps/request/stream"
        bodies = [await enter(reading(each.url + at, headers=AUTH)) for each in both]
        topics = [("c", "progress"), (run_id, "$run"), (run_id, "$step")]
        urls = [f"{each.url}/v1/realtime/sse?token={await token(each, *topics)}" for each in both]
        messages = [await ready(await enter(reading(url))) for url in urls]
        for body in bodies:
            (_, head), *chunks = await until(body, "chunk")
            assert head["status"] == 200
            text = "".join(chunk["text"] for _, chunk in chunks)
            while len(text) < len(FIRST):
                text += (await until(body, "chunk"))[-1][1]["text"]
            assert text == FIRST.decode()
        slow.gate.set()
        for body in bodies:
            *chunks, (_, end) = await until(body, "end")
            assert "".join(chunk["text"] for _, chunk in chunks) == SECOND.decode()
            assert end == {"size": len(FIRST + SECOND), "status": 200}
        for stream in messages:
            told = [found for _, found in await until(stream, "message", "kind", "run")]
            assert {"size": len(FIRST + SECOND)} in [each["data"] for each in told]
            assert "request" in [each["metadata"]["step"] for each in told if each["kind"] == "step"]
            assert told[-1]["metadata"]["status"] == "completed"
        async with asyncio.timeout(WAIT_S):
            kinds: list[str] = []
            while kinds[-1:] != ["ended"]:
                news = json.loads(await lines.readline())
                kinds += [news["kind"]] if news["about"].get("run_id", run_id) == run_id else []
        assert kinds[-3:] == ["event", "began", "ended"]
        await published_at_one(*both)


async def published_at_one(first: ServeProcess, second: ServeProcess) -> None:
    """As JSON, piece by piece, as bytes, over server-sent events and a WebSocket; a message larger than a notification."""
    large = "x" * 200_000
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        url = f"{second.url}/v1/realtime/sse?token={await token(second, ('c', 't'))}"
        stream = await ready(await enter(reading(url)))
        session = await enter(aiohttp.ClientSession(headers=AUTH))
        url = f"{second.url}/v1/realtime/connect?token={await token(second, ('c', 't'))}"
        socket = await enter(session.ws_connect(url))
        publish = f"{first.url}/v1/realtime/publish"
        for value in (1, large):
            answer = await session.post(f"{publish}?channel=c&topic=t", json=value)
            assert answer.status == 200, await answer.text()
        headers = {"content-type": "text/stream"}
        await session.post(f"{publish}?channel=c&topic=t", data=b"piece", headers=headers)
        await session.post(f"{publish}/tee?channel=c", data=b'data: {"kind": "teed"}\n\n')
        told = [found for _, found in await until(stream, "message", "kind", "teed")]
        assert [each["kind"] for each in told] == [
            "data",
            "data",
            "datastream-start",
            "chunk",
            "datastream-end",
            "teed",
        ]
        assert [each["data"] for each in told[:2]] == [1, large]
        assert told[3]["data"] == "piece"
        async with asyncio.timeout(WAIT_S):
            assert [json.loads((await socket.receive()).data)["kind"] for _ in range(5)] == [
                each["kind"] for each in told[:5]
            ]
            assert (await socket.receive()).type is aiohttp.WSMsgType.BINARY
