"""The README's example does what it says."""

import re
from pathlib import Path
from typing import Any

from aiohttp import web

import stepwell

README = Path(__file__).parents[2] / "README.md"


async def test_the_example_runs() -> None:
    [code, *_] = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)

    async def words(_: web.Request) -> web.Response:
        return web.Response(text="three small words")

    app = web.Application()
    app.router.add_get("/", words)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with stepwell.embedded(names["client"], db="memory:") as platform:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
            [run] = await platform.send_and_wait("file.wanted", {"url": url}, timeout=20)
    finally:
        await runner.cleanup()
    assert (run.status, run.output) == ("completed", 3)
