"""Records what the official Python SDK answers: ``python -m tests.conformance.golden.make`` writes ``recorded.json``."""

import asyncio
import json
from importlib.metadata import version
from pathlib import Path

from tests.conformance.golden.libs import OFFICIAL
from tests.conformance.golden.play import answer, intake
from tests.conformance.golden.requests import asks

RECORDED = Path(__file__).with_name("recorded.json")


async def record() -> None:
    """Every request, put to the official SDK."""
    with intake() as platform:
        answers = {name: await answer(OFFICIAL, ask, platform) for name, ask in asks().items()}
    found = {"inngest": version("inngest"), "answers": answers}
    text = json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True)
    RECORDED.write_text(text.replace(platform.url, "http://platform") + "\n")
    print(f"{len(answers)} answers in {RECORDED.name}")  # noqa: T201 - a program


if __name__ == "__main__":
    asyncio.run(record())
