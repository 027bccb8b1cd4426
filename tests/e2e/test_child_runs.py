"""The runs that a run's steps invoked lie below them on its page, however many others there have been since."""

import html
import re
from pathlib import Path

import aiohttp
import pytest

import stepwell
from stepwell.embed import Embedded
from stepwell.server.dashboard import children
from stepwell.server.store.base import RunQuery
from tests.e2e.ugly import finish, platform, until

OTHERS = 40
client = stepwell.Client("family")


@client.create_function(fn_id="child", trigger=stepwell.TriggerEvent(event="unused"))
async def child(ctx: stepwell.Context) -> int:
    return int(ctx.event.data["n"])


@client.create_function(
    fn_id="calm", trigger=stepwell.TriggerEvent(event="unused"), debounce=stepwell.Debounce(period="1s")
)
async def calm(ctx: stepwell.Context) -> str:
    return "calm"


@client.create_function(fn_id="parent", trigger=stepwell.TriggerEvent(event="go"))
async def parent(ctx: stepwell.Context) -> list[object]:
    one = await ctx.step.invoke("one", function=child, data={"n": 1})
    await ctx.step.sleep("a-while", "1200ms")
    two = await ctx.step.invoke("two", function=child, data={"n": 2})
    return [one, two, await ctx.step.invoke("calm", function=calm)]


@client.create_function(fn_id="other", trigger=stepwell.TriggerEvent(event="other"))
async def other(ctx: stepwell.Context) -> int:
    return await ctx.step.invoke("one", function=child, data={"n": 3})


async def ids_of(running: Embedded, function: str) -> list[str]:
    found = await running._host.ask(running._host_engine().runs(RunQuery(function_id=f"family-{function}", limit=500)))
    return [run.run_id for run in found if run.status.ended][::-1]


async def test_children_are_found_by_the_time_of_their_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_MOST", 10)
    async with platform(tmp_path, client) as running:
        result = await finish(running, await running.send("go", {}))
        assert result.output == [1, 2, "calm"]
        own = await ids_of(running, "child")
        own += await ids_of(running, "calm")
        for _ in range(OTHERS):
            await running.send("other", {})

        async def over() -> bool:
            return len(await ids_of(running, "other")) == OTHERS

        await until(over, 30)
        async with aiohttp.ClientSession(running.url) as session, session.get(f"/runs/{result.run_id}") as answer:
            page = await answer.text()
    rows = re.findall(r'<li id="s-(\w+)" data-live class="depth-(\d)">', html.unescape(page))
    assert [name for name, depth in rows if depth == "1"] == own
    assert [depth for _, depth in rows] == ["0", "0", "1", "0", "0", "1", "0", "1"], (
        "each below the step that invoked it"
    )
