"""Each row of the table of what others do wrong, and what happens here."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from stepwell import Client, Context, FetchError, Retry, TriggerEvent, embedded
from tests.server.hostile_server import Exchange, hostile, plain, redirect

GO = TriggerEvent(event="go")
Body = Callable[[Context], Awaitable[Any]]


async def run(folder: Path, body: Body, **options: Any) -> tuple[Any, int]:
    """What a function came to, and how often its code was begun."""
    client = Client(app_id="wrong")
    begun = 0

    @client.create_function(fn_id="f", trigger=GO, **options)
    async def f(ctx: Context) -> Any:
        nonlocal begun
        begun += 1
        return await body(ctx)

    db = f"sqlite:///{folder}/a.db"
    async with embedded(client, db=db, retry_interval=0.01, hosts={"*": {"slow_down": False}}) as platform:
        (result,) = await platform.send_and_wait("go", timeout=30)
    return result, begun


async def test_bytes_cookies_and_forms_are_exact(tmp_path: Path) -> None:
    every = bytes(range(256))
    got: list[httpx2.Response] = []

    async with hostile(plain(every, "200 OK", "Set-Cookie: a=1", "Set-Cookie: b=2")) as server:

        async def body(ctx: Context) -> None:
            got.append(await ctx.step.fetch(server.url, method="POST", data={"a": "1 2", "b": "&"}))
            got.append(await ctx.step.fetch(server.url, method="POST", content=every))

        result, _ = await run(tmp_path, body)
        assert result.status == "completed"
        assert {response.content for response in got} == {every}
        assert got[0].headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert [exchange.body for exchange in server.seen] == [b"a=1+2&b=%26", every]


@pytest.mark.parametrize("status", ["429 Later", "503 Busy"])
async def test_busy_answers_are_no_success(tmp_path: Path, status: str) -> None:
    async with hostile(plain(b"", status, "Retry-After: 0"), plain(b"done")) as server:

        async def body(ctx: Context) -> str:
            return (await ctx.step.fetch(server.url)).text

        result, _ = await run(tmp_path, body)
        assert (result.output, len(server.seen)) == ("done", 2)


async def test_another_host_gets_no_credentials_and_no_query(tmp_path: Path) -> None:
    async with hostile(plain()) as other, hostile(redirect(f"http://127.0.0.1:{other.port}/there")) as server:
        secrets = {"Authorization": "s3cret", "Cookie": "c=s3cret", "X-Api-Key": "s3cret", "X-Fine": "1"}

        async def body(ctx: Context) -> None:
            await ctx.step.fetch(f"{server.url}/?key=s3cret", headers=secrets)

        await run(tmp_path, body)
        assert b"s3cret" in server.seen[0].head
        assert b"s3cret" not in other.seen[0].head
        assert other.seen[0].lines[0] == b"GET /there HTTP/1.1"
        assert other.seen[0].header(b"x-fine") == [b"1"]


async def test_never_more_than_the_functions_concurrency(tmp_path: Path) -> None:
    flying = most = 0

    async def slow(exchange: Exchange) -> None:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.01)
        flying -= 1
        await exchange.send(plain())

    async with hostile(slow) as server:

        async def body(ctx: Context) -> int:
            return len(await asyncio.gather(*(ctx.step.fetch(f"{server.url}/{n}") for n in range(20))))

        result, _ = await run(tmp_path, body, concurrency=2)
        assert (result.output, most) == (20, 2)


async def test_a_request_that_backs_off_holds_no_slot_and_takes_one_when_it_is_sent_again(tmp_path: Path) -> None:
    flying = most = 0

    async def busy_once(exchange: Exchange) -> None:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        again = len({each.lines[0] for each in server.seen}) == 3 < len(server.seen)
        await asyncio.sleep(0.2 if again else 0)
        flying -= 1
        await exchange.send(plain() if again else plain(b"", "503 Busy", "Retry-After: 1"))

    async with hostile(busy_once) as server:

        async def body(ctx: Context) -> list[int]:
            found = await asyncio.gather(*(ctx.step.fetch(f"{server.url}/{n}") for n in range(3)))
            return [response.status_code for response in found]

        result, _ = await run(tmp_path, body, concurrency=1)
        asked = [exchange.lines[0] for exchange in server.seen]
        assert (result.output, most, len(asked)) == ([200, 200, 200], 1, 6)
        assert len(set(asked[:3])) == 3


async def test_a_refused_connection_is_tried_again_without_the_users_code(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"

        async def body(ctx: Context) -> list[Any]:
            try:
                await ctx.step.fetch(url, retry=Retry(attempts=4))
            except FetchError as error:
                return [error.kind, error.attempts]
            return []

        result, begun = await run(tmp_path, body)
    assert result.output == ["connect", 4]
    assert begun == 1, "the function waited in memory"


async def test_a_request_that_can_not_be_made_is_not_one_of_which_nobody_knows(tmp_path: Path) -> None:
    async def body(ctx: Context) -> list[Any]:
        try:
            await ctx.step.fetch("http://127.0.0.1:1/", headers={"X": "a\r\nb"}, at_most_once=True)
        except FetchError as error:
            return [error.kind, error.attempts]
        return []

    result, _ = await run(tmp_path, body)
    assert result.output == ["invalid", 1]


async def test_one_connection_for_many_requests(tmp_path: Path) -> None:
    async with hostile(plain()) as server:

        async def body(ctx: Context) -> None:
            for n in range(5):
                await ctx.step.fetch(f"{server.url}/{n}")

        await run(tmp_path, body)
        assert (len(server.seen), server.connections) == (5, 1)


async def test_a_lower_case_method_is_a_method(tmp_path: Path) -> None:
    async with hostile(plain()) as server:

        async def body(ctx: Context) -> None:
            await ctx.step.fetch(server.url, method="patch")

        await run(tmp_path, body)
        assert server.seen[0].lines[0] == b"PATCH / HTTP/1.1"
