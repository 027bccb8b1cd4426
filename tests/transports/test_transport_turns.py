"""Parallel requests that come out of threads: replays give them the answers that they had, whichever thread was faster."""

import asyncio
import itertools
import threading
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest

import stepwell
from stepwell.transports.aiohttp import durable_session
from stepwell.transports.httpx2 import AsyncDurableTransport

COUNT = 4


class Threads:
    """Threads that end in the order of their numbers, and in reverse whenever they are started again."""

    def __init__(self) -> None:
        self._backwards = itertools.chain([False], itertools.repeat(True))

    def start(self) -> None:
        backwards = next(self._backwards)
        self._gates = [threading.Event() for _ in range(COUNT)]
        self._then = [n - 1 if backwards else n + 1 for n in range(COUNT)]
        self._gates[COUNT - 1 if backwards else 0].set()

    def work(self, number: int) -> None:
        """What is done in the thread."""
        assert self._gates[number].wait(20)

    def over(self, number: int) -> None:
        """The task goes on."""
        if 0 <= self._then[number] < COUNT:
            self._gates[self._then[number]].set()


async def by_aiohttp(url: str, number: int) -> str:
    async with durable_session() as http, http.get(url, params={"city": str(number)}) as answer:
        return (await answer.json())["city"]


async def by_httpx2(url: str, number: int) -> str:
    async with httpx2.AsyncClient(transport=AsyncDurableTransport()) as http:
        return (await http.get(url, params={"city": str(number)})).json()["city"]


@pytest.mark.parametrize("ask", [by_aiohttp, by_httpx2])
async def test_requests_after_threads_keep_their_order(run: Any, api: Any, ask: Callable[..., Any]) -> None:
    threads = Threads()

    async def one(number: int) -> str:
        await asyncio.to_thread(threads.work, number)
        threads.over(number)
        return await ask(f"{api.url}/weather", number)

    async def f(ctx: stepwell.Context) -> Any:
        threads.start()
        found = await asyncio.gather(*(one(n) for n in range(COUNT)))
        await ctx.step.run("after", lambda: None)
        return found

    result = await run(f, always_replay=True)
    assert result.output == [str(n) for n in range(COUNT)]
    assert api.stats.paths == {"/weather": COUNT}


async def test_a_thread_that_goes_on_holds_up_no_one_who_is_before_it(run: Any, api: Any) -> None:
    go_on = threading.Event()

    async def later() -> str:
        assert await asyncio.to_thread(go_on.wait, 20)
        return await by_httpx2(f"{api.url}/weather", 1)

    async def first() -> str:
        go_on.set()
        return await by_httpx2(f"{api.url}/weather", 0)

    async def f(ctx: stepwell.Context) -> Any:
        return await asyncio.gather(first(), later())

    result = await run(f)
    assert result.output == ["0", "1"]


async def test_a_thread_that_waits_for_the_request_itself_is_not_waited_for(run: Any, api: Any) -> None:
    """Neither by that request nor by others, which may be what it takes to go on."""

    async def f(ctx: stepwell.Context) -> Any:
        loop = asyncio.get_running_loop()

        def bridge() -> str:
            return asyncio.run_coroutine_threadsafe(by_httpx2(f"{api.url}/weather", 0), loop).result(20)

        return await asyncio.gather(asyncio.to_thread(bridge), by_httpx2(f"{api.url}/weather", 1))

    result = await run(f)
    assert result.output == ["0", "1"]
    assert api.stats.paths == {"/weather": 2}


async def test_one_who_is_cancelled_while_it_waits_for_its_turn_holds_up_nobody(run: Any, api: Any) -> None:
    go_on = threading.Event()

    async def slow() -> str:
        assert await asyncio.to_thread(go_on.wait, 20)
        return await by_httpx2(f"{api.url}/weather", 0)

    async def f(ctx: stepwell.Context) -> Any:
        tasks = [asyncio.ensure_future(slow())]
        tasks += [asyncio.ensure_future(by_httpx2(f"{api.url}/weather", n)) for n in (1, 2)]
        for _ in range(5):
            await asyncio.sleep(0)
        tasks[1].cancel()
        go_on.set()
        return [str(found) for found in await asyncio.gather(*tasks, return_exceptions=True)]

    result = await run(f)
    assert result.output == ["0", "", "2"]
    assert api.stats.paths == {"/weather": 2}


async def test_the_first_requests_of_an_sdk_that_looks_its_platform_up_in_threads(
    run: Any, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, looking = Threads(), itertools.count()

    def look_up() -> str:
        number = next(looking) % COUNT
        threads.work(number)
        return str(number)

    monkeypatch.setattr("openai._base_client.get_platform", look_up)

    class Watched(AsyncDurableTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            threads.over(int(request.headers["x-number"]))
            return await super().handle_async_request(request)

    async def ask(gpt: openai.AsyncOpenAI, number: int) -> str | None:
        messages: list[Any] = [{"role": "user", "content": f"Number {number}"}]
        answer = await gpt.chat.completions.create(
            model="sample", messages=messages, extra_headers={"x-number": str(number)}
        )
        return answer.choices[0].message.content

    async def f(ctx: stepwell.Context) -> Any:
        threads.start()
        async with httpx2.AsyncClient(transport=Watched()) as http:
            gpt = openai.AsyncOpenAI(api_key="sk-test", base_url=f"{api.url}/v1", http_client=http, max_retries=0)
            found = await asyncio.gather(*(ask(gpt, n) for n in range(COUNT)))
        await ctx.step.run("after", lambda: None)
        return found

    result = await run(f, always_replay=True)
    assert result.output == [f"You said: Number {n}" for n in range(COUNT)]
    assert api.stats.paths == {"/v1/chat/completions": COUNT}
