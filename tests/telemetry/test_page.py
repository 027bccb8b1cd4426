"""The code of docs/telemetry.md, run against a platform."""

import asyncio
import re
from pathlib import Path

from stepwell.embed import embedded
from stepwell.server.store.base import EventQuery
from tests.ports import free_port

PAGE = (Path(__file__).parent.parent.parent / "docs" / "telemetry.md").read_text(encoding="utf-8")


async def test_the_code_of_the_page_runs() -> None:
    port = free_port()
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    async with embedded(db="memory:", port=port) as platform:
        await asyncio.to_thread(exec, code.replace("8288", str(port)), {})
        engine = platform._host_engine()
        (event,) = await platform._host.ask(engine.list_events(EventQuery()))
    assert event.name == "shop/order.created"
