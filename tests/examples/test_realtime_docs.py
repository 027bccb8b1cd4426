"""The page on realtime does what it says."""

import json
import re
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.ugly import platform

PAGE = (Path(__file__).parent.parent.parent / "docs" / "realtime.md").read_text(encoding="utf-8")


async def test_the_page_s_function_is_read_along(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    exec("\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)), found)
    shown = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0])
    async with platform(tmp_path, found["client"]) as running:
        url = f"{running.url}/v1/realtime/sse?token={await found['token_for']('7')}"
        timeout = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as reader:
            (run,) = await running.send_and_wait("import", {"id": 7}, timeout=20)
            assert run.output == 300
            messages: list[dict[str, Any]] = []
            while len(messages) < 3:
                line = await reader.content.readline()
                if line.startswith(b"data: "):
                    messages.append(json.loads(line.removeprefix(b"data: ")))
        (told,) = await running.send_and_wait("tell", timeout=20)
        assert told.output == len("once upon a time ")
    assert [each["data"] for each in messages] == [{"part": part, "rows": 100} for part in range(3)]
    assert messages[0] | {"run_id": "", "created_at": ""} == shown | {"run_id": "", "created_at": ""}
