"""A step that shall be run with other input than its code gives it, because somebody edited it for a re-run."""

import dataclasses
from typing import Any

import msgspec
import pytest

import stepwell
from stepwell.wire.ids import step_hash
from tests.sdk.fake_engine import Engine


@dataclasses.dataclass
class Order:
    total: int


def double(order: Order, times: int = 2, *, tax: int = 1) -> int:
    return order.total * times + tax


async def double_async(order: Order, times: int = 2) -> int:
    return order.total * times + 1


async def run_async(ctx: stepwell.Context) -> list[int]:
    return [await ctx.step.run("a", double_async, Order(1), 2), await ctx.step.run("b", double, Order(1), 2)]


def run_sync(ctx: stepwell.ContextSync) -> list[int]:
    return [ctx.step.run("a", double, Order(1), 2), ctx.step.run("b", double, Order(1), 2)]


@pytest.mark.parametrize("function", [run_async, run_sync])
@pytest.mark.parametrize("replay", [True, False])
async def test_a_step_runs_with_the_edited_arguments_in_their_types(function: Any, replay: bool) -> None:
    engine = Engine(function, replay=replay)
    edited = {step_hash("a", 0): b'[{"total":5},10]', step_hash("b", 0): b'[{"total":7}]'}
    answer = await engine.executor.execute(engine.request(inputs=edited))
    assert bytes(answer.ops[0].data or b"") == b"51"
    engine.steps = {step_hash("a", 0): b'{"data":51}'}
    engine.stack = [step_hash("a", 0)]
    answer = await engine.executor.execute(engine.request(step_hash("b", 0), inputs=edited))
    assert bytes(answer.ops[0].data or b"") == b"15"
    await engine.executor.close()


async def test_arguments_that_do_not_fit_are_a_final_error_of_the_step() -> None:
    engine = Engine(run_async)
    edited = {step_hash("a", 0): b'[{"total":"x"}]'}
    answer = await engine.executor.execute(engine.request(inputs=edited))
    assert answer.no_retry is True
    assert b"does not fit" in bytes(answer.ops[0].error or b"")
    await engine.executor.close()


async def ask_async(ctx: stepwell.Context) -> Any:
    adapter = stepwell.ai.OpenAI(model="m", auth_key="k")
    return await ctx.step.ai.infer("a", adapter=adapter, body={"messages": [], "n": 1})


def ask_sync(ctx: stepwell.ContextSync) -> Any:
    adapter = stepwell.ai.OpenAI(model="m", auth_key="k")
    return ctx.step.ai.infer("a", adapter=adapter, body={"messages": [], "n": 1})


@pytest.mark.parametrize("function", [ask_async, ask_sync])
@pytest.mark.parametrize(
    ("edited", "body"),
    [
        (b'[{"n":2,"seed":3}]', {"messages": [], "n": 2, "model": "m", "seed": 3}),
        (b"[]", {"messages": [], "n": 1, "model": "m"}),
        (b"[7]", {"messages": [], "n": 1, "model": "m"}),
    ],
)
async def test_the_body_of_a_question_is_merged(function: Any, edited: bytes, body: dict[str, Any]) -> None:
    engine = Engine(function)
    answer = await engine.executor.execute(engine.request(inputs={step_hash("a", 0): edited}))
    assert msgspec.json.decode(answer.ops[0].opts or b"")["body"] == body
    await engine.executor.close()
