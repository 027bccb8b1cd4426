"""Our SDK's answers match what the official Python SDK answered to the same requests (recorded.json, by make.py)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.golden.differences import MEMBERS, comparable
from tests.conformance.golden.libs import OFFICIAL, OURS
from tests.conformance.golden.make import RECORDED
from tests.conformance.golden.play import Intake, answer, intake
from tests.conformance.golden.requests import Ask, asks

ASKS = asks()
GOLDEN: dict[str, Any] = json.loads(RECORDED.read_text())["answers"]
LIVE = ("the first step", "a parallel group", "an error: final", "GET with a signature", "a sync")
"""Put to the official SDK again, so that the file can not go stale unseen."""


@pytest.fixture(scope="module")
def platform() -> Iterator[Intake]:
    with intake() as server:
        yield server


async def found(lib: Any, ask: Ask, platform: Intake) -> Any:
    text = json.dumps(await answer(lib, ask, platform), ensure_ascii=False)
    return json.loads(text.replace(platform.url, "http://platform"))


def test_every_request_is_recorded_and_every_exemption_is_needed() -> None:
    assert set(GOLDEN) == set(ASKS)
    assert set(MEMBERS) <= set(ASKS)


@pytest.mark.parametrize("name", ASKS)
async def test_answers_are_those_of_the_official_sdk(name: str, platform: Intake) -> None:
    allowed = MEMBERS.get(name, {})
    ours = await found(OURS, ASKS[name], platform)
    assert comparable(ours, allowed) == comparable(GOLDEN[name], allowed)
    for member in allowed:
        bare = {**allowed}
        del bare[member]
        assert comparable(ours, bare) != comparable(GOLDEN[name], bare), f"{member} needs no exemption any longer"


@pytest.mark.parametrize("name", LIVE)
async def test_the_record_is_what_the_official_sdk_says_today(name: str, platform: Intake) -> None:
    today = await found(OFFICIAL, ASKS[name], platform)
    assert comparable(today, {}) == comparable(GOLDEN[name], {})
