"""A run made anew with the input of one of its steps edited, in functions of our SDK."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import stepwell
from tests.e2e.test_rerun import again, ended
from tests.e2e.ugly import finish, platform


@dataclasses.dataclass
class Order:
    total: int


def double(order: Order, tax: int) -> int:
    return order.total * 2 + tax


client = stepwell.Client("edited")


@client.create_function(fn_id="async", trigger=stepwell.TriggerEvent("async"))
async def run_async(ctx: stepwell.Context) -> list[int]:
    first = await ctx.step.run("first", double, Order(1), 0)
    return [
        first,
        await ctx.step.run("second", double, Order(first), 0),
        await ctx.step.run("third", double, Order(1), 1),
    ]


@client.create_function(fn_id="sync", trigger=stepwell.TriggerEvent("sync"))
def run_sync(ctx: stepwell.ContextSync) -> list[int]:
    first = ctx.step.run("first", double, Order(1), 0)
    return [first, ctx.step.run("second", double, Order(first), 0), ctx.step.run("third", double, Order(1), 1)]


@client.create_function(fn_id="ask", trigger=stepwell.TriggerEvent("ask"))
async def ask(ctx: stepwell.Context) -> Any:
    adapter = stepwell.ai.OpenAI(model="m", auth_key="", base_url=ctx.event.data["url"])
    return await ctx.step.ai.infer("ask", adapter=adapter, body={"n": 1, "kept": True})


@pytest.mark.parametrize("name", ["async", "sync"])
async def test_the_step_gets_the_edited_arguments_and_the_rest_their_own(tmp_path: Path, name: str) -> None:
    async with platform(tmp_path, client) as running:
        old = await finish(running, await running.send(name, {}))
        assert old.output == [2, 4, 3]
        new = await again(running, old.run_id, {"from_step": "second", "input": [{"total": 50}, 7]})
        assert (await ended(running, new))["output"] == [2, 107, 3]


async def test_a_question_gets_the_edited_members_over_its_own(tmp_path: Path) -> None:
    asked: list[Any] = []

    async def model(request: web.Request) -> web.Response:
        asked.append(await request.json())
        return web.json_response({"answer": len(asked)})

    app = web.Application()
    app.router.add_post("/chat/completions", model)
    async with TestServer(app) as server, platform(tmp_path, client) as running:
        old = await finish(running, await running.send("ask", {"url": str(server.make_url("/"))}))
        new = await again(running, old.run_id, {"from_step": "ask", "input": [{"n": 2}]})
        assert (await ended(running, new))["output"] == {"answer": 2}
    own = {"n": 1, "kept": True, "model": "m"}
    assert asked == [own, own | {"n": 2}]
