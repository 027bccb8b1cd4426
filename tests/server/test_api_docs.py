"""docs/api.md: its code runs on a real platform, and its table is what there is."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from stepwell.server.api.openapi.operations import OPERATIONS
from tests.e2e.ugly import Call, bare, ops, returned, step_run

PAGE = (Path(__file__).parent.parent.parent / "docs" / "api.md").read_text(encoding="utf-8")


def names() -> dict[str, Any]:
    """What the page's blocks define."""
    found: dict[str, Any] = {"httpx2": httpx2, "Iterator": Iterator, "Any": Any}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "api.md", "exec"), found)
    return found


def test_every_path_of_the_page_is_there() -> None:
    known = {re.sub(r"{\w+}", "{}", f"{each.method.upper()} {each.path}") for each in OPERATIONS}
    said = {re.sub(r"{\w+}", "{}", path) for path in re.findall(r"`((?:GET|POST|DELETE) /[^`?]*)`", PAGE)}
    assert said - known == set()
    assert len(said) > 15


async def test_pages_of_events_and_a_run_made_again(tmp_path: Path) -> None:
    async def answer(call: Call, request: Any) -> Any:
        if call["ctx"]["stack"]["current"]:
            return returned(call["steps"]["double"]["data"])
        n = (call["steps"].get("double", {}).get("input") or [4])[0]
        return ops(step_run("double", 2 * n))

    page = names()
    async with bare(tmp_path, answer) as rig:
        with httpx2.Client(base_url=rig.platform.url, trust_env=False, timeout=40) as http:
            first = await rig.run()
            assert first.output == 8
            for n in range(60):
                await rig.platform.send("other", {"n": n})
            found = await asyncio.to_thread(lambda: list(page["events_named"](http, "other")))
            assert [event["data"]["n"] for event in found] == list(range(59, -1, -1))
            run = await asyncio.to_thread(page["again"], http, first.run_id, "double", 21)
            assert (run["output"], run["original_run_id"]) == (42, first.run_id)
