"""The page on flow control: its functions, run by a platform on a SQLite file."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

import stepwell
from stepwell.embed import Embedded, Result

PAGE = Path(__file__).parents[2] / "docs" / "flow-control.md"


@pytest.fixture
def app() -> dict[str, Any]:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    code = code.replace('period="10s"', 'period="1s"').replace('timeout="5s"', 'timeout="1s"')
    found: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, str(PAGE), "exec"), found)
    return found


async def sent(platform: Embedded, name: str, *data: dict[str, Any]) -> list[Result]:
    """The runs of all of these events, each once, when they have ended."""
    ids = [await platform.send(name, each) for each in data]
    found = [run for event_id in ids for run in await platform.wait(event_id, 30)]
    return list({run.run_id: run for run in found}.values())


async def test_each_function_of_the_page_does_what_the_page_says(app: dict[str, Any], tmp_path: Path) -> None:
    async with stepwell.embedded(app["client"], db=f"sqlite:///{tmp_path}/a.db") as platform:
        changed = await sent(platform, "product/changed", {"product": "a"}, {"product": "a"}, {"product": "b"})
        assert [run.output for run in changed] == [
            "a as of the newest of its events",
            "b as of the newest of its events",
        ]
        clicks = await sent(platform, "click", *({"n": n} for n in range(230)))
        assert sum(run.output for run in clicks) == 230
        assert max(run.output for run in clicks) == 100
        reminded = await sent(platform, "cart/left", {"user": 1}, {"user": 1}, {"user": 2})
        assert [run.status for run in reminded] == ["completed", "completed"]
        charged = await sent(platform, "checkout/done", {"cart": 7}, {"cart": 7})
        assert [run.status for run in charged] == ["completed"]
        synced = await sent(platform, "sync/asked", {"account": 1})
        assert [run.status for run in synced] == ["completed"]


async def test_a_singleton_skips_while_its_run_sleeps(tmp_path: Path) -> None:
    client = stepwell.Client("app", is_production=False)

    @client.create_function(
        fn_id="f",
        trigger=stepwell.TriggerEvent(event="x"),
        singleton=stepwell.Singleton(mode="skip", key="event.data.k"),
    )
    async def f(ctx: stepwell.Context) -> None:
        await ctx.step.wait_for_event("go", event="go", timeout="1m")

    assert f.admissions.singleton is not None
    async with stepwell.embedded(client, db=f"sqlite:///{tmp_path}/a.db") as platform:
        first = await platform.send("x", {"k": 1})
        second = await platform.send("x", {"k": 1})
        other = await platform.send("x", {"k": 2})
        (skipped,) = await platform.wait(second, 20)
        assert (skipped.status, skipped.output, skipped.ended) == ("skipped", None, True)
        for event_id in (first, other):
            while not (view := await platform.view_of(event_id)) or not view.steps:
                await asyncio.sleep(0.01)
        await platform.send("go")
        ended = [run.status for event_id in (first, other) for run in await platform.wait(event_id, 20)]
        assert ended == ["completed", "completed"]
