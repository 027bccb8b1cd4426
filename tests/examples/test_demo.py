"""``make demo``: it ends well, shows retries as they happen, and what it tells people to try next works."""

import asyncio
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEPWELL = str(Path(sys.executable).with_name("stepwell"))


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.timeout(150)
async def test_the_demo() -> None:
    shown = await run(sys.executable, "scripts/demo.py")
    assert "attempt 1: status 503; again in" in shown
    assert "the server asked for this delay" in shown
    assert "'charged twice': False" in shown
    [listed] = [line for line in shown.splitlines() if "stepwell runs 0" in line]
    words = listed.split()
    assert "Completed" in await run(STEPWELL, *words[1:])
    assert "examples-" in await run(STEPWELL, "runs", "--db", words[-1])
