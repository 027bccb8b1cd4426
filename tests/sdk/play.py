"""Plays a function through the fake engine: kept and always replayed, on asyncio and on uvloop; all must agree."""

import asyncio
from collections.abc import Callable
from typing import Any

import uvloop

from tests.sdk.fake_engine import Engine, Failed, first

LOOPS: dict[str, Any] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def on_loop(main: Callable[[], Any], loop: str = "asyncio") -> Any:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(main())


def play(function: Callable[..., Any], *, choose: Any = first, **options: Any) -> Any:
    """``function(ctx, log)``: its result. The log of its last pass must be the same everywhere; returned as well."""
    seen: dict[str, Any] = {}
    for loop in LOOPS:
        for replay in (False, True):
            log: list[Any] = []

            async def body(ctx: Any, log: list[Any] = log) -> Any:
                log.clear()
                return await function(ctx, log)

            async def main(body: Any = body, replay: bool = replay) -> Any:
                engine = Engine(body, replay=replay, choose=choose, **options)
                try:
                    return await engine.run()
                except Failed as error:
                    return error

            seen[f"{loop}, {'replay' if replay else 'kept'}"] = (repr(on_loop(main, loop)), list(log))
    distinct = {repr(value) for value in seen.values()}
    assert len(distinct) == 1, seen
    return next(iter(seen.values()))


def result(function: Callable[..., Any], **options: Any) -> str:
    return play(function, **options)[0]
