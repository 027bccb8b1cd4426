"""Reading along while a durable request is made: in process, and over the API. The upstream waits for the readers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from openai import AsyncOpenAI

import stepwell
from stepwell.embed import Embedded, Result
from stepwell.transports import httpx as durable_httpx
from stepwell.transports import httpx2 as durable_httpx2
from stepwell.transports.openai import durable_openai
from tests.e2e.ugly import api, finish, platform, until

Handler = Callable[[Any], Awaitable[Any]]
WORDS = ["one ", "two ", "three"]


class Upstream:
    """Sends its first word, and the others only once the test has opened the gate."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.sent: list[str] = []
        self.breaks = 0
        self.url = ""

    async def words(self, request: web.Request) -> web.StreamResponse:
        self.sent.append(request.path)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        await response.write(WORDS[0].encode())
        async with asyncio.timeout(30):
            await self.gate.wait()
        if self.breaks:
            self.breaks -= 1
            assert request.transport is not None
            request.transport.abort()
            return response
        for word in WORDS[1:]:
            await response.write(word.encode())
        return response

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.sent.append(request.path)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, word in enumerate(WORDS):
            if number:
                async with asyncio.timeout(30):
                    await self.gate.wait()
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()
    app = web.Application()
    app.add_routes([web.get("/words", made.words), web.post("/v1/chat/completions", made.chat)])
    async with TestServer(app) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made
        made.gate.set()


def function(handler: Handler, retries: int = 1) -> stepwell.Client:
    client = stepwell.Client("app")
    client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"), retries=retries)(handler)
    return client


async def go(folder: Path, handler: Handler, *, replay: bool = False) -> Result:
    async with platform(folder, function(handler)) as running:
        for executor in running._executors:
            executor.always_replay = replay
        return await finish(running, await running.send("go", {}))


@pytest.mark.parametrize("key", ["sk-test", str(stepwell.secret("CHAT_KEY"))], ids=["literal", "secret"])
async def test_openai_yields_its_first_chunk_before_the_upstream_has_ended(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("CHAT_KEY", "sk-of-the-platform")
    gpt = durable_openai(AsyncOpenAI(api_key=key, base_url=f"{upstream.url}/v1"))
    seen: list[str] = []

    async def f(ctx: stepwell.Context) -> Any:
        messages: list[Any] = [{"role": "user", "content": "x"}]
        stream = await gpt.chat.completions.create(model="m", messages=messages, stream=True)
        words: list[str] = []
        async for chunk in stream:
            words.append(chunk.choices[0].delta.content or "")
            seen.append(words[-1])
            upstream.gate.set()
        return [words, await ctx.step.run("after", lambda: "done")]

    async with platform(tmp_path, function(f), secrets_hosts="CHAT_KEY=127.0.0.1") as running:
        result = await finish(running, await running.send("go", {}))
    assert result.output == [WORDS, "done"]
    assert seen == WORDS, "read once: no replay"
    assert len(upstream.sent) == 1


@pytest.mark.parametrize("library", [(httpx, durable_httpx), (httpx2, durable_httpx2)], ids=["httpx", "httpx2"])
async def test_what_is_read_along_is_what_a_replay_reads(tmp_path: Path, upstream: Upstream, library: Any) -> None:
    plain, durable = library
    live: list[bytes] = []

    async def f(ctx: stepwell.Context) -> Any:
        async with plain.AsyncClient(transport=durable.AsyncDurableTransport()) as client:  # noqa: SIM117
            async with client.stream("GET", f"{upstream.url}/words") as response:
                body = b""
                async for piece in response.aiter_raw():
                    live.append(piece)
                    body += piece
                    upstream.gate.set()
        return [response.status_code, body.decode(), response.elapsed.total_seconds() > 0]

    assert (await go(tmp_path / "a", f)).output == [200, "".join(WORDS), True]
    assert live[0] == b"one ", "before the rest"
    assert (await go(tmp_path / "b", f, replay=True)).output == [200, "".join(WORDS), True]
    assert live[-1] == b"one two three", "a replay has the record"
    assert len(upstream.sent) == 2


async def test_no_step_and_no_return_before_the_record(tmp_path: Path, upstream: Upstream) -> None:
    order: list[str] = []

    async def opener(running: Embedded) -> None:
        await until(lambda: "head" in order)
        await asyncio.sleep(0.05)
        order.append("gate")
        upstream.gate.set()

    async def f(ctx: stepwell.Context) -> Any:
        async with httpx2.AsyncClient(transport=durable_httpx2.AsyncDurableTransport()) as client:
            request = client.build_request("GET", f"{upstream.url}/words")
            response = await client.send(request, stream=True)
            order.append("head")
            await ctx.step.run("in between", lambda: order.append("step"))
            return (await response.aread()).decode()

    async with platform(tmp_path, function(f)) as running:
        opening = asyncio.ensure_future(opener(running))
        result = await finish(running, await running.send("go", {}))
        await opening
    assert result.output == "".join(WORDS)
    assert order == ["head", "gate", "step"]


async def test_a_function_that_stops_reading_returns_after_the_record(tmp_path: Path, upstream: Upstream) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        async with httpx2.AsyncClient(transport=durable_httpx2.AsyncDurableTransport()) as client:
            response = await client.send(client.build_request("GET", f"{upstream.url}/words"), stream=True)
            returned.set()
            return response.status_code

    returned = asyncio.Event()
    async with platform(tmp_path, function(f)) as running:
        event = await running.send("go", {})
        await asyncio.wait_for(returned.wait(), 10)
        (started,) = await running._host.ask(running._host_engine().runs_of(event))
        assert await running._host.ask(running._host_engine().poke(started)), "a call meanwhile changes nothing"
        await asyncio.sleep(0.1)
        found = await running.run(started)
        assert found is not None
        assert not found.ended
        upstream.gate.set()
        assert (await finish(running, event)).output == 200
        (run,) = await running.wait(event)
        _, _, steps = await api(running, "GET", f"/v1/runs/{run.run_id}/steps")
    assert [step["status"] for step in steps["data"]] == ["Completed"]


async def test_time_stands_still_while_reading_along(tmp_path: Path, upstream: Upstream) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        async with httpx2.AsyncClient(transport=durable_httpx2.AsyncDurableTransport()) as client:
            response = await client.send(client.build_request("GET", f"{upstream.url}/words"), stream=True)
            asyncio.get_running_loop().run_in_executor(None, _later, asyncio.get_running_loop(), upstream.gate)
            try:
                async with asyncio.timeout(0.01):
                    return (await response.aread()).decode()
            except TimeoutError:  # not left to the function's retry, which would have the record
                return "timed out"

    assert (await go(tmp_path, f)).output == "".join(WORDS)


def _later(loop: asyncio.AbstractEventLoop, gate: asyncio.Event) -> None:
    import time

    time.sleep(0.1)
    loop.call_soon_threadsafe(gate.set)


async def test_a_response_that_breaks_off_is_sent_again_and_the_run_replayed(
    tmp_path: Path, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.breaks = 1
    read: list[str] = []

    async def f(ctx: stepwell.Context) -> Any:
        async with httpx2.AsyncClient(transport=durable_httpx2.AsyncDurableTransport()) as client:  # noqa: SIM117
            async with client.stream("GET", f"{upstream.url}/words") as response:
                body = ""
                async for piece in response.aiter_text():
                    read.append(piece)
                    body += piece
                    upstream.gate.set()
        return body

    result = await go(tmp_path, f)
    assert result.output == "".join(WORDS)
    assert len(upstream.sent) == 2
    assert read[0] == "one "
    assert "broke off" in caplog.text


async def test_requests_in_parallel_get_their_records(tmp_path: Path, upstream: Upstream) -> None:
    upstream.gate.set()

    async def f(ctx: stepwell.Context) -> Any:
        async with httpx2.AsyncClient(transport=durable_httpx2.AsyncDurableTransport()) as client:
            found = await asyncio.gather(*(client.get(f"{upstream.url}/words") for _ in range(3)))
        return [response.text for response in found]

    assert (await go(tmp_path, f)).output == ["".join(WORDS)] * 3


async def test_the_stream_of_a_step_over_the_api(tmp_path: Path, upstream: Upstream) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        return (await ctx.step.fetch(f"{upstream.url}/words", id="words")).text

    async with platform(tmp_path, function(f)) as running:
        event = await running.send("go", {})
        await until(lambda: len(upstream.sent) == 1)
        (run_id,) = await running._host.ask(running._host_engine().runs_of(event))
        timeout = aiohttp.ClientTimeout(total=10)
        url = f"{running.url}/v1/runs/{run_id}/steps/words/stream"
        text = ""
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            async for line in response.content:
                text += line.decode()
                if line.startswith(b"data: ") and b"one" in line:
                    upstream.gate.set()
        assert "".join(_texts(text)) == "".join(WORDS)
        assert "event: end" in text
        assert (await finish(running, event)).output == "".join(WORDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            again = await response.text()
        assert "".join(_texts(again)) == "".join(WORDS)


def _texts(events: str) -> list[str]:
    lines = [line for line in events.splitlines() if line.startswith("data: ")]
    return [json.loads(line[6:])["text"] for line in lines if "text" in json.loads(line[6:])]


async def test_a_response_that_breaks_off_for_good_is_the_clients_error(tmp_path: Path, upstream: Upstream) -> None:
    upstream.breaks = 10
    ends: list[str] = []

    async def f(ctx: stepwell.Context) -> Any:
        async with httpx2.AsyncClient(transport=durable_httpx2.AsyncDurableTransport(retry=2)) as client:
            try:
                async with client.stream("GET", f"{upstream.url}/words") as response:
                    async for _ in response.aiter_raw():
                        upstream.gate.set()
                    ends.append("whole")
            except httpx2.ReadError:
                ends.append("error")
        return await ctx.step.run("after", lambda: "handled")

    assert (await go(tmp_path, f)).output == "handled"
    assert ends == ["error"], "what was shown of a broken response never counts as read"
    assert len(upstream.sent) == 2
