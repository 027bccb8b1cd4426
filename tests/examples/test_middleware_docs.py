"""The code of docs/middleware.md does what the page says."""

import re
from pathlib import Path
from typing import Any

import stepwell
from stepwell.encryption import Cipher

PAGE = Path(__file__).parent.parent.parent / "docs/middleware.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def names(block: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    exec(compile(BLOCKS[block], str(PAGE), "exec"), found)
    return found


async def output(client: stepwell.Client, data: dict[str, Any]) -> Any:
    async with stepwell.embedded(client, db="memory:") as platform:
        (event_id,) = await client.send(stepwell.Event(name="shop/order.placed", data=data))
        (run,) = await platform.wait(event_id)
        assert run.status == "completed", run.output
        return run.output


async def test_the_measure() -> None:
    page = names(0)
    assert await output(page["client"], {"amount": 7}) == 7
    assert len(page["durations"]) == 2


async def test_the_session() -> None:
    assert await output(names(1)["client"], {}) == {"value": ["order", True]}


async def test_the_encryption() -> None:
    page = names(2)
    sealed = await output(page["client"], {"encrypted": {"card": 42}})
    assert Cipher(page["key"]).decrypt(sealed) == "charged 42"


def test_every_block_is_run() -> None:
    assert len(BLOCKS) == 3
