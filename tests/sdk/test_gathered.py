"""Members of a gather whose results come one after the other: the short way past them is taken only where it is right."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from stepwell import NonRetriableError, StepError
from stepwell.sdk.drivers import gathered
from stepwell.sdk.drivers.execution import Execution
from stepwell.sdk.drivers.waits import Owned, Wait
from stepwell.wire.fetch import FetchResponse, Hop
from tests.sdk.fake_engine import Engine, last
from tests.sdk.play import on_loop, play, result

ORDERS = pytest.mark.parametrize("choose", [lambda names: 0, last, lambda names: len(names) // 2])
MEMBERS = 6


async def value(x: Any) -> Any:
    return x


async def boom() -> None:
    raise NonRetriableError("boom")


def looked(monkeypatch: pytest.MonkeyPatch, function: Callable[[Any], Any]) -> int:
    """How often the state of the run was looked at in a replay of the whole of it, while others use the loop too."""
    count = 0
    plain = Owned.look

    def counting(self: Owned) -> Wait:
        nonlocal count
        count += 1
        return plain(self)

    async def others() -> None:
        while True:
            await asyncio.sleep(0)

    async def main() -> None:
        beside = asyncio.create_task(others())
        await Engine(function, replay=True).run()
        beside.cancel()

    with monkeypatch.context() as patched:
        patched.setattr(Owned, "look", counting)
        on_loop(main)
    return count


def test_it_takes_few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def together(ctx: Any) -> Any:
        await asyncio.gather(*(ctx.step.run(f"s{i}", value, i) for i in range(60)))
        return await ctx.step.run("after", value, 1)

    async def grouped(ctx: Any) -> Any:
        async with asyncio.TaskGroup() as group:
            for i in range(60):
                group.create_task(ctx.step.run(f"s{i}", value, i))
        return await ctx.step.run("after", value, 1)

    assert looked(monkeypatch, together) * 3 < looked(monkeypatch, grouped)


@ORDERS
def test_what_a_member_does_in_its_last_turn_comes_before_the_next_result(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        loop = asyncio.get_running_loop()
        later: list[asyncio.Task[Any]] = []

        async def member(i: int) -> int:
            got = await ctx.step.run(f"s{i}", value, i)
            log.append(i)
            if i % 2:
                later.append(loop.create_task(ctx.step.run("more", value, i)))
            else:
                loop.call_soon(lambda: later.append(loop.create_task(ctx.step.run("more", value, i))))
            return got

        found = await asyncio.gather(*(member(i) for i in range(MEMBERS)))
        return found, await asyncio.gather(*later)

    play(f, choose=choose)


@ORDERS
def test_callbacks_of_members(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        loop = asyncio.get_running_loop()
        later: list[asyncio.Task[Any]] = []

        def ended(task: asyncio.Task[Any]) -> None:
            log.append(task.result())
            later.append(loop.create_task(ctx.step.run("more", value, task.result())))

        members = [loop.create_task(ctx.step.run(f"s{i}", value, i)) for i in range(MEMBERS)]
        for member in members[1:4]:
            member.add_done_callback(ended)
        found = await asyncio.gather(*members)
        return found, await asyncio.gather(*later)

    play(f, choose=choose)


@ORDERS
def test_tasks_that_a_members_callbacks_begin_come_before_the_next_result(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        loop = asyncio.get_running_loop()
        later: list[asyncio.Task[Any]] = []

        async def more(i: int) -> int:
            for _ in range(9):
                await asyncio.sleep(0)
            log.append(("more", i))
            return await ctx.step.run("more", value, i)

        def begin(i: int) -> None:
            later.append(loop.create_task(more(i)))

        async def member(i: int) -> int:
            got = await ctx.step.run(f"s{i}", value, i)
            log.append(i)
            if i % 3 == 0:
                loop.call_soon(begin, i)
            elif i % 3 == 1:
                loop.call_soon(loop.call_soon, begin, i)
            else:
                return await ctx.step.run("more", value, i)
            return got

        found = await asyncio.gather(*(member(i) for i in range(MEMBERS)))
        return found, await asyncio.gather(*later)

    assert result(f, choose=choose).startswith(f"[{list(range(MEMBERS))},")


@ORDERS
def test_a_generator_that_a_member_leaves_is_closed_before_the_next_result(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async def rows(i: int) -> Any:
            try:
                yield await ctx.step.run(f"s{i}", value, i)
                yield None
            finally:
                log.append(("closed", i))

        async def first_row(i: int) -> Any:
            async for row in rows(i):
                log.append(row)
                return row
            return None

        return await asyncio.gather(*(first_row(i) for i in range(MEMBERS)))

    play(f, choose=choose)


@ORDERS
def test_a_member_that_fails_ends_the_gather_before_the_next_result(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async def member(i: int) -> int:
            got = await ctx.step.run(f"s{i}", boom if i == 2 else value, *(() if i == 2 else (i,)))
            log.append(i)
            return got

        try:
            await asyncio.gather(*(member(i) for i in range(MEMBERS)))
        except StepError:
            log.append("failed")
            return await ctx.step.run("clean up", value, 1)

    play(f, choose=choose)


@ORDERS
def test_failures_that_are_returned(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        steps = (ctx.step.run(f"s{i}", boom if i % 2 else value, *(() if i % 2 else (i,))) for i in range(MEMBERS))
        found = await asyncio.gather(*steps, return_exceptions=True)
        log.append(len(found))
        return [str(each) for each in found]

    assert result(f, choose=choose) == "['0', 'boom', '2', 'boom', '4', 'boom']"


@ORDERS
def test_members_that_wake_each_other(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        lock, gate = asyncio.Lock(), asyncio.Event()

        async def opener(i: int) -> int:
            await ctx.step.run(f"open{i}", value, i)
            gate.set()
            return i

        async def locked(i: int) -> int:
            async with lock:
                got = await ctx.step.run(f"locked{i}", value, i)
                log.append(("locked", i))
            return got

        async def waits(i: int) -> int:
            await gate.wait()
            log.append(("waits", i))
            return await ctx.step.run("through", value, i)

        return await asyncio.gather(*(kind(i) for i in range(3) for kind in (opener, locked, waits)))

    play(f, choose=choose)


@ORDERS
def test_gathers_in_gathers_and_beside_each_other(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async def step(i: int) -> int:
            got = await ctx.step.run(f"s{i}", value, i)
            log.append(i)
            return got

        async def both(start: int) -> list[int]:
            found = await asyncio.gather(*(step(start + i) for i in range(3)))
            log.append(("both", start))
            return [*found, await ctx.step.run("after", value, start)]

        inner = asyncio.gather(step(20), step(21))
        return await asyncio.gather(both(0), both(10), inner, step(30))

    play(f, choose=choose)


@ORDERS
def test_members_that_cancel_each_other(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        members: list[asyncio.Task[Any]] = []

        async def member(i: int) -> int:
            try:
                got = await ctx.step.run(f"s{i}", value, i)
            except asyncio.CancelledError:
                log.append(("cancelled", i))
                return await ctx.step.run(f"instead of s{i}", value, -i)
            log.append(i)
            members[(i + 2) % MEMBERS].cancel()
            return got

        members += [asyncio.create_task(member(i)) for i in range(MEMBERS)]
        return await asyncio.gather(*members, return_exceptions=True)

    play(f, choose=choose)


@ORDERS
def test_timers_that_members_leave_behind(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        loop = asyncio.get_running_loop()

        async def member(i: int) -> int:
            got = await ctx.step.run(f"s{i}", value, i)
            loop.call_later(5 * (MEMBERS - i), lambda: log.append(("fired", i)))
            return got

        await asyncio.gather(*(member(i) for i in range(MEMBERS)))

        async def nap(i: int) -> int:
            await asyncio.sleep(5 + i)
            return i

        return await asyncio.gather(*(nap(i) for i in range(3)))

    play(f, choose=choose)


@ORDERS
def test_a_gather_under_a_timeout(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        try:
            async with asyncio.timeout(30):
                await asyncio.gather(
                    *(ctx.step.run(f"s{i}", value, i) for i in range(4)), ctx.step.sleep("long", "60s")
                )
        except TimeoutError:
            log.append("timeout")
        return await ctx.step.run("after", value, 1)

    play(f, choose=choose)


@ORDERS
def test_a_result_that_nobody_has_asked_for_yet_comes_last(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async def two(i: int) -> int:
            await ctx.step.run(f"a{i}", value, i)
            return await ctx.step.run(f"b{i}", value, i)

        found = await asyncio.gather(*(two(i) for i in range(3)), *(ctx.step.run(f"s{i}", value, i) for i in range(3)))
        log.append(found)
        return found

    play(f, choose=choose)


@pytest.mark.parametrize("replay", [False, True])
def test_a_timer_that_a_member_has_left_fires_before_the_next_result(replay: bool) -> None:
    log: list[Any] = []

    async def f(ctx: Any) -> Any:
        loop = asyncio.get_running_loop()
        log.clear()

        async def member(i: int) -> None:
            await ctx.step.run(f"s{i}", value, i)
            log.append(i)
            loop.call_later(10, lambda: log.append(("fired", i)))

        await asyncio.gather(*(member(i) for i in range(4)))

    async def main() -> None:
        engine = Engine(f, replay=replay)
        steps = [op.id for op in (await engine.call()).ops]
        for step in steps[:3]:
            engine.end(step, b'{"data":0}')
            (timer,) = [op.id for op in (await engine.call()).ops if op.id not in (*steps, *engine.stack)]
            engine.end(timer, b"null")
        await engine.call()
        await engine.executor.close()

    on_loop(main)
    assert log == [0, ("fired", 0), 1, ("fired", 1), 2, ("fired", 2)]


def test_all_is_settled_in_the_end_where_the_last_result_is_for_nobody() -> None:
    async def f(ctx: Any) -> Any:
        loop = asyncio.get_running_loop()
        later: list[asyncio.Task[Any]] = []

        async def member() -> None:
            await ctx.step.run("a", value, 1)
            loop.call_soon(lambda: later.append(loop.create_task(ctx.step.run("more", value, 1))))

        await asyncio.gather(member(), ctx.step.run("b", value, 2))
        await asyncio.gather(*later)

    async def main() -> list[str | None]:
        engine = Engine(f)
        found = {op.display_name: op.id for op in (await engine.call()).ops}
        engine.end(found["a"], b'{"data":1}')
        engine.end("of nobody", b"null")
        names = [op.display_name for op in (await engine.call()).ops]
        await engine.executor.close()
        return names

    assert on_loop(main) == ["more"]


@ORDERS
def test_what_reading_a_result_begins_comes_before_the_next_one(choose: Any) -> None:
    begin: list[Callable[[], None]] = []

    class Kind:
        @classmethod
        def model_validate(cls, given: Any) -> Any:
            return given

        @classmethod
        def model_validate_json(cls, data: bytes) -> Any:
            begin[-1]()
            return cls()

    async def f(ctx: Any, log: list[Any]) -> Any:
        loop = asyncio.get_running_loop()
        later: list[asyncio.Task[Any]] = []

        async def more() -> int:
            log.append("more")
            return await ctx.step.run("more", value, 1)

        begin.append(lambda: loop.call_soon(lambda: later.append(loop.create_task(more()))) and None)
        steps = [ctx.step.run(f"s{i}", value, i, output_type=Kind) for i in range(MEMBERS)]
        plain = [logs(ctx, log, i) for i in range(MEMBERS)]
        both = [step for pair in zip(steps, plain, strict=True) for step in pair]
        await asyncio.gather(*both)
        return await asyncio.gather(*later)

    async def logs(ctx: Any, log: list[Any], i: int) -> None:
        await ctx.step.run(f"t{i}", value, i)
        log.append(i)

    assert result(f, choose=choose) == f"{[1] * MEMBERS}"


def test_steps_that_are_members_themselves_go_on_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    plain = gathered.pass_alike

    async def counting(execution: Execution, members: list[gathered.Member]) -> bool:
        sizes.append(len(members))
        assert await plain(execution, members)
        return True

    async def f(ctx: Any) -> Any:
        return await asyncio.gather(*(ctx.step.run(f"s{i}", value, i) for i in range(20)))

    monkeypatch.setattr(gathered, "pass_alike", counting)
    engine = Engine(f, replay=True)
    assert on_loop(engine.run) == list(range(20))
    assert max(sizes) == 19  # the last one is what the function goes on by


def test_the_loop_gets_a_turn_between_so_many_results(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    plain = gathered.pass_alike

    async def counting(execution: Execution, members: list[gathered.Member]) -> bool:
        sizes.append(len(members))
        return await plain(execution, members)

    async def f(ctx: Any) -> Any:
        return await asyncio.gather(*(ctx.step.fetch(f"http://h/{i}", id=f"s{i}") for i in range(70))) and "all"

    monkeypatch.setattr(gathered, "pass_alike", counting)
    assert on_loop(Engine(f, replay=True).run) == "all"
    assert sizes[-3:] == [32, 32, 5]


@ORDERS
@pytest.mark.parametrize("bad", [0, 2, MEMBERS - 1])
def test_what_has_ended_when_a_step_fails_that_is_a_member_itself(choose: Any, bad: int) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        steps = [
            ctx.step.run(f"s{i}", boom if i == bad else value, *(() if i == bad else (i,))) for i in range(MEMBERS)
        ]
        tasks = [asyncio.create_task(step) for step in steps]
        try:
            await asyncio.gather(*tasks)
        except StepError:
            log.append([task.done() for task in tasks])
            await ctx.step.run("clean up", value, 1)
        log.append([task.done() for task in tasks])
        return [str(each) for each in await asyncio.gather(*tasks, return_exceptions=True)]

    play(f, choose=choose)


def _unreadable(request: Any) -> FetchResponse:
    """As it is, or with a coding that its body is not in, or at the end of a way that httpx can not name."""
    if "encoded" in request.url:
        return FetchResponse(status=200, url=request.url, headers=(("content-Encoding", "gzip"),), body=b"plain")
    if "redirected" in request.url:
        return FetchResponse(status=200, url=request.url, history=(Hop(302, "http://h:port/"),))
    return FetchResponse(status=200, url=request.url, body=b"as it is")


@ORDERS
@pytest.mark.parametrize("kind", ["encoded", "redirected"])
@pytest.mark.parametrize("bad", [0, 2, MEMBERS - 1])
def test_what_has_ended_when_a_response_can_not_be_read_that_is_a_member_itself(
    choose: Any, kind: str, bad: int
) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        names = [kind if i == bad else f"s{i}" for i in range(MEMBERS)]
        tasks = [asyncio.create_task(ctx.step.fetch(f"http://h/{name}")) for name in names]
        try:
            await asyncio.gather(*tasks)
        except (httpx2.DecodingError, httpx2.InvalidURL):
            log.append([task.done() for task in tasks])
            await ctx.step.fetch(f"http://h/after-{sum(log[-1])}")
        return [type(each).__name__ for each in await asyncio.gather(*tasks, return_exceptions=True)]

    found, log = play(f, choose=choose, upstream=_unreadable)
    assert log
    assert "Failed" not in found


@ORDERS
def test_requests_that_are_members_themselves_beside_code(choose: Any) -> None:
    async def f(ctx: Any, log: list[Any]) -> Any:
        async def member(i: int) -> int:
            got = await ctx.step.fetch(f"http://h/m{i}")
            log.append(i)
            return got.status_code

        pairs = ((ctx.step.fetch(f"http://h/s{i}"), member(i)) for i in range(MEMBERS))
        found = await asyncio.gather(*(each for pair in pairs for each in pair))
        return [one if isinstance(one, int) else one.status_code for one in found]

    assert result(f, choose=choose) == str([200] * 2 * MEMBERS)
