"""The blocks of docs/waiting.md run: its functions wait, are woken, and are ended, as the page says."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import stepwell
from stepwell.embed import Embedded

PAGE = Path(__file__).parent.parent.parent / "docs" / "waiting.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def page() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile("\n\n".join(BLOCKS), PAGE.name, "exec"), names)
    return names


@pytest.fixture
async def platform(page: dict[str, Any], tmp_path: Path) -> AsyncIterator[Embedded]:
    async with stepwell.embedded(page["client"], db=f"sqlite:///{tmp_path / 'p.db'}") as running:
        yield running


async def begun(platform: Embedded, name: str, order: int) -> str:
    event = await platform.send(name, {"order": order})
    async with asyncio.timeout(30):
        while (found := await platform.view_of(event)) is None or not found.steps:
            await asyncio.sleep(0.005)
    return event


async def test_events(platform: Embedded) -> None:
    first, second = [await begun(platform, "order.placed", order) for order in (1, 2)]
    await platform.send("order.paid", {"order": 2, "amount": 7})
    assert [run.output for run in await platform.wait(second, 10)] == ["paid 7"]
    found = await platform.view_of(first)
    assert found is not None
    assert not found.run.status.ended


async def test_signals(platform: Embedded, page: dict[str, Any]) -> None:
    event = await begun(platform, "refund.asked", 5)
    assert not await page["approve"](4)
    assert await page["approve"](5)
    assert [run.output for run in await platform.wait(event, 10)] == [True]


async def test_ends(platform: Embedded, page: dict[str, Any]) -> None:
    event = await begun(platform, "order.packed", 3)
    await platform.send("order.cancelled", {"order": 3})
    assert [run.status for run in await platform.wait(event, 10)] == ["cancelled"]
    async with asyncio.timeout(30):
        while page["cleaned"] != [3]:
            await asyncio.sleep(0.005)


def test_tests(page: dict[str, Any]) -> None:
    page["test_order_that_is_paid"]()
