"""Random programs of steps, gathers, races and timeouts, in random completion orders: a replay takes the same path."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell import NonRetriableError, StepError
from tests.sdk.fake_engine import Engine
from tests.sdk.play import on_loop

Program = tuple[Any, ...]

LEAF = st.one_of(
    st.tuples(st.just("step"), st.integers(0, 3)),
    st.tuples(st.just("fail"), st.integers(0, 3)),
    st.tuples(st.just("sleep"), st.integers(1, 50)),
    st.tuples(st.just("fetch"), st.integers(0, 2)),
    st.tuples(st.just("nap"), st.just(0)),
)
PROGRAM: Any = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.tuples(st.just("seq"), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("gather"), st.lists(inner, min_size=1, max_size=4)),
        st.tuples(st.just("group"), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("first"), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("each"), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("timeout"), st.integers(1, 60), inner),
    ),
    max_leaves=10,
)


async def work(name: str, fail: bool) -> str:
    if fail:
        raise NonRetriableError(name)
    return name


class Run:
    """Interprets a program; ``log`` is the path that it took."""

    def __init__(self, ctx: Any, log: list[Any]) -> None:
        self.ctx = ctx
        self.log = log

    async def do(self, program: Program) -> Any:
        kind, value = program[0], program[1]
        got = await getattr(self, f"do_{kind}")(value, *program[2:])
        self.log.append((kind, got))
        return got

    async def do_step(self, n: int) -> Any:
        return await self.ctx.step.run(f"s{n}", work, f"s{n}", False)

    async def do_fail(self, n: int) -> Any:
        try:
            return await self.ctx.step.run(f"f{n}", work, f"f{n}", True)
        except StepError as error:
            return error.message

    async def do_sleep(self, seconds: int) -> Any:
        return await self.ctx.step.sleep(f"nap {seconds}", f"{seconds}s")

    async def do_fetch(self, n: int) -> Any:
        return (await self.ctx.step.fetch(f"http://x.test/{n}")).text

    async def do_nap(self, _: int) -> Any:
        return await asyncio.sleep(0)

    async def do_seq(self, parts: list[Program]) -> Any:
        return [await self.do(part) for part in parts]

    async def do_gather(self, parts: list[Program]) -> Any:
        return await asyncio.gather(*(self.do(part) for part in parts))

    async def do_group(self, parts: list[Program]) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.do(part)) for part in parts]
        return [task.result() for task in tasks]

    async def do_first(self, parts: list[Program]) -> Any:
        tasks = [asyncio.create_task(self.do(part)) for part in parts]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        ended = [i for i, task in enumerate(tasks) if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return ended

    async def do_each(self, parts: list[Program]) -> Any:
        tasks = [asyncio.create_task(self.do(part)) for part in parts]
        return [await future for future in asyncio.as_completed(tasks)]

    async def do_timeout(self, seconds: int, inner: Program) -> Any:
        try:
            async with asyncio.timeout(seconds):
                return await self.do(inner)
        except TimeoutError:
            return "timeout"


def outcome(program: Program, picks: list[int], replay: bool, loop: str) -> Any:
    log: list[Any] = []
    turn = iter(range(10**6))

    async def f(ctx: Any) -> Any:
        log.clear()
        return await Run(ctx, log).do(program)

    def choose(names: list[str]) -> int:
        return picks[next(turn) % len(picks)]

    async def main() -> Any:
        engine = Engine(f, replay=replay, choose=choose)
        result = await engine.run()
        return result, [engine.names.get(each) for each in engine.stack]

    return (*on_loop(main, loop), list(log))


@settings(max_examples=60)
@given(PROGRAM, st.lists(st.integers(0, 7), min_size=1, max_size=12))
def test_replays_take_the_same_path(program: Program, picks: list[int]) -> None:
    kept = outcome(program, picks, replay=False, loop="asyncio")
    assert outcome(program, picks, replay=True, loop="asyncio") == kept
    assert outcome(program, picks, replay=True, loop="uvloop") == kept
