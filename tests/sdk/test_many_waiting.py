"""Thousands of tasks that wait for other things than steps: each is looked at when it changes, and not with each step."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from stepwell.sdk.drivers import introspect
from stepwell.sdk.drivers.settle import Patience
from tests.sdk.fake_engine import Engine
from tests.sdk.play import on_loop, result

MANY, FEW = 60, 7
Get = Callable[[int], Awaitable[Any]]


def semaphore() -> Callable[[Get, int], Awaitable[Any]]:
    limit = asyncio.Semaphore(3)

    async def one(get: Get, i: int) -> Any:
        async with limit:
            return await get(i)

    return one


def limiter() -> Callable[[Get, int], Awaitable[Any]]:
    limit = anyio.CapacityLimiter(3)

    async def one(get: Get, i: int) -> Any:
        async with limit:
            return await get(i)

    return one


async def in_time(get: Get, i: int) -> Any:
    return await asyncio.wait_for(get(i), 3600)


async def shielded(get: Get, i: int) -> Any:
    return await asyncio.shield(get(i))


async def gathered(get: Get, i: int) -> Any:
    return sum(await asyncio.gather(get(i), get(-i)), i)


async def waited(get: Get, i: int) -> Any:
    done, _ = await asyncio.wait([asyncio.create_task(get(i)), asyncio.create_task(get(-i))])
    return sum((task.result() for task in done), i)


async def grouped(get: Get, i: int) -> Any:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(get(i))
        group.create_task(get(-i))
    return task.result()


async def rested(get: Get, i: int) -> Any:
    await asyncio.sleep(60 + i)
    return await get(i)


async def another_task(get: Get, i: int) -> Any:
    return await asyncio.create_task(get(i))


WAYS: dict[str, Callable[[], Callable[[Get, int], Awaitable[Any]]]] = {
    "semaphore": semaphore,
    "anyio limiter": limiter,
    "wait_for": lambda: in_time,
    "shield": lambda: shielded,
    "gather": lambda: gathered,
    "wait": lambda: waited,
    "TaskGroup": lambda: grouped,
    "sleep": lambda: rested,
    "task": lambda: another_task,
}


def program(way: str, count: int) -> Callable[[Any], Awaitable[Any]]:
    async def f(ctx: Any, log: list[Any] | None = None) -> Any:
        async def get(i: int) -> int:
            response = await ctx.step.fetch(f"http://x.test/{i}")
            return int(response.text.rpartition("/")[2])

        one = WAYS[way]()
        return await asyncio.gather(*(one(get, i) for i in range(count)))

    return f


@pytest.mark.parametrize("way", WAYS)
def test_what_they_wait_for_is_found_a_few_times_for_each(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    found = 0
    plain = introspect.waiter

    def counting(task: Any) -> Any:
        nonlocal found
        found += 1
        return plain(task)

    monkeypatch.setattr(introspect, "waiter", counting)
    assert on_loop(lambda: Engine(program(way, MANY)).run()) == list(range(MANY))
    assert found < 50 * MANY


@pytest.mark.parametrize("way", WAYS)
def test_results_are_those_of_every_other_way(way: str) -> None:
    assert result(program(way, FEW)) == repr(list(range(FEW)))


PATIENT = Patience(unknown=0.01, library=3600, real=3600, idle=10)
"""Whoever waits for a thread or a library as such would wait for an hour."""


def test_a_thread_that_waits_for_a_step_of_the_run() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        loop = asyncio.get_running_loop()

        async def get(i: int) -> str:
            return (await ctx.step.fetch(f"http://x.test/{i}")).text

        def plain() -> str:
            return asyncio.run_coroutine_threadsafe(get(1), loop).result(30) + "!"

        def with_anyio() -> str:
            return anyio.from_thread.run(get, 2) + "!"

        one = await asyncio.to_thread(plain)
        two, three = await asyncio.gather(anyio.to_thread.run_sync(with_anyio), get(3))
        return [one, two, three]

    assert result(f, patience=PATIENT) == "['http://x.test/1!', 'http://x.test/2!', 'http://x.test/3']"


def test_a_task_that_an_anyio_group_starts_may_make_steps_first() -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async def serve(*, task_status: Any) -> None:
            task_status.started((await ctx.step.fetch("http://x.test/1")).text)
            await ctx.step.fetch("http://x.test/2")

        async with anyio.create_task_group() as group:
            return await group.start(serve)

    assert result(f, patience=PATIENT) == "'http://x.test/1'"
