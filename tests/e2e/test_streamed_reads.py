"""``stream=True``: a recorded body is read part by part, in every kind of function, and clients that stream do the same."""

import gzip
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

import stepwell
from stepwell.embed import Result
from stepwell.sdk import stored
from stepwell.transports.httpx import AsyncDurableTransport, DurableTransport
from stepwell.transports.httpx2 import AsyncDurableTransport as AsyncDurableTransport2
from stepwell.transports.httpx2 import DurableTransport as DurableTransport2
from tests.e2e.test_large_bodies import BODY, digest
from tests.e2e.ugly import finish, platform, sdk_app, sync
from tests.server.hostile_server import hostile, plain

Handler = Callable[[Any], Awaitable[Any]]
DIGEST = digest(BODY)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "PART_BYTES", 700_001)


PARTS = -(-len(BODY) // 700_001)


def made(function: Any, **options: Any) -> stepwell.Client:
    client = stepwell.Client("app", is_production=False, **options)
    client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"), retries=0)(function)
    return client


async def go(folder: Path, where: str, function: Any) -> Result:
    """In process, in process with always-replay, or over HTTP."""
    if where != "http":
        client = made(function)
        async with platform(folder, client, always_replay=where == "replay") as running:
            return await finish(running, await running.send("go", {}))
    async with platform(folder) as running:
        client = made(function, api_base_url=running.url)
        async with sdk_app(client) as url:
            await sync(running, client, url)
            return await finish(running, await running.send("go", {}))


@pytest.mark.parametrize("where", ["process", "replay", "http"])
async def test_async_functions(tmp_path: Path, where: str) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        response = await ctx.step.fetch(server.url, stream=True)
        found, count = hashlib.sha256(), 0
        async for chunk in response.aiter_bytes():
            found.update(chunk)
            count += 1
        await ctx.step.sleep("nap", "1ms")
        return [found.hexdigest(), count, response.elapsed.total_seconds() > 0]

    async with hostile(plain(BODY)) as server:
        result = await go(tmp_path, where, f)
        assert len(server.seen) == 1
    assert result.output == [DIGEST, PARTS, True]


@pytest.mark.parametrize("where", ["process", "http"])
async def test_def_functions(tmp_path: Path, where: str) -> None:
    def f(ctx: stepwell.ContextSync) -> Any:
        response = ctx.step.fetch(server.url, stream=True)
        found = hashlib.sha256()
        for chunk in response.iter_bytes():
            found.update(chunk)
        ctx.step.sleep("nap", "1ms")
        return [found.hexdigest(), len(ctx.step.fetch(server.url, id="again").content)]

    async with hostile(plain(BODY)) as server:
        result = await go(tmp_path, where, f)
        assert len(server.seen) == 2
    assert result.output == [DIGEST, len(BODY)]


@pytest.mark.parametrize("where", ["process", "replay", "http"])
async def test_a_step_writes_it_to_a_file(tmp_path: Path, where: str) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        response = await ctx.step.fetch(server.url, stream=True)

        async def save() -> int:
            with (tmp_path / "saved").open("wb") as file:
                async for chunk in response.aiter_bytes():
                    file.write(chunk)
            return (tmp_path / "saved").stat().st_size

        return await ctx.step.run("save", save)

    async with hostile(plain(BODY)) as server:
        result = await go(tmp_path, where, f)
    assert result.output == len(BODY)
    assert (tmp_path / "saved").read_bytes() == BODY


async def test_a_small_or_encoded_body_and_reading_all_of_it(tmp_path: Path) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        small = await ctx.step.fetch(server.url, stream=True, id="small")
        with pytest.raises(httpx2.ResponseNotRead):
            _ = small.text
        large = await ctx.step.fetch(server.url, stream=True, id="large")
        encoded = await ctx.step.fetch(server.url, stream=True, id="encoded")
        parts = [chunk async for chunk in encoded.aiter_bytes()]
        return [(await small.aread()).decode(), digest(await large.aread()), digest(b"".join(parts))]

    packed = plain(gzip.compress(BODY), "200 OK", "Content-Encoding: gzip")
    async with hostile(plain(b"hello"), plain(BODY), packed) as server:
        result = await go(tmp_path, "process", f)
    assert result.output == ["hello", DIGEST, DIGEST]


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
@pytest.mark.parametrize("where", ["process", "replay", "http"])
async def test_a_durable_client_that_streams(tmp_path: Path, where: str, library: str) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        client: Any = httpx.AsyncClient(transport=AsyncDurableTransport())
        if library == "httpx2":
            client = httpx2.AsyncClient(transport=AsyncDurableTransport2())
        found = hashlib.sha256()
        async with client, client.stream("GET", server.url) as response:
            async for chunk in response.aiter_bytes():
                found.update(chunk)
        await ctx.step.sleep("nap", "1ms")
        async with client.__class__(transport=client._transport) as other:
            whole = await other.get(f"{server.url}/again")
        return [found.hexdigest(), digest(whole.content), whole.elapsed.total_seconds() > 0]

    async with hostile(plain(BODY)) as server:
        result = await go(tmp_path, where, f)
        assert len(server.seen) == 2
    assert result.output == [DIGEST, DIGEST, True]


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
@pytest.mark.parametrize("where", ["process", "http"])
async def test_a_durable_client_that_streams_in_a_def_function(tmp_path: Path, where: str, library: str) -> None:
    def f(ctx: stepwell.ContextSync) -> Any:
        client: Any = httpx.Client(transport=DurableTransport())
        if library == "httpx2":
            client = httpx2.Client(transport=DurableTransport2())
        with client:
            with client.stream("GET", server.url) as response:
                parts = list(response.iter_raw())
            with client.stream("GET", f"{server.url}/left"):
                pass
            whole = client.get(f"{server.url}/again")
        elapsed.append(whole.elapsed)
        ctx.step.sleep("nap", "1ms")
        return [len(parts), digest(b"".join(parts)), digest(whole.content)]

    elapsed: list[timedelta] = []

    async with hostile(plain(BODY)) as server:
        result = await go(tmp_path, where, f)
        assert len(server.seen) == 3
    assert result.output == [PARTS, DIGEST, DIGEST]
    assert len(elapsed) > 1
    assert len(set(elapsed)) == 1, "the recorded time, in every replay"


async def test_outside_of_a_run_it_is_a_plain_request() -> None:
    async with hostile(plain(b"hello")) as server:
        response = await stepwell.fetch(server.url, stream=True, max_body="1MiB")
        assert [chunk async for chunk in response.aiter_bytes()] == [b"hello"]
