"""The function on the page about starts of runs can be declared as it says, registers what it says, and runs."""

import re
from pathlib import Path
from typing import Any

import msgspec

from stepwell.core.retries import _TABLE_S  # pyright: ignore[reportPrivateUsage]
from stepwell.testing import run_function
from stepwell.wire.functions import parse_function

PAGE = (Path(__file__).parent.parent.parent / "docs" / "run-starts.md").read_text(encoding="utf-8")
UNITS = {"s": 1, "m": 60, "h": 3_600}


def page() -> dict[str, Any]:
    found: dict[str, Any] = {}
    exec("\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)), found)
    return found


def test_the_function_of_the_page_runs() -> None:
    outcome = run_function(page()["import_files"], data={"customer": "c", "paid": True})
    assert outcome.output == "imported"
    assert outcome.elapsed.total_seconds() == 30


def test_it_registers_all_of_its_settings() -> None:
    function = page()["import_files"]
    found = parse_function(msgspec.json.decode(msgspec.json.encode(function.config("http://h/api"))))
    assert (found.retries, found.priority) == (6, "event.data.paid ? 120 : 0")
    assert found.throttle is not None
    assert (found.throttle.limit, found.throttle.period_ms, found.throttle.burst) == (60, 60_000, 5)
    assert [entry.limit for entry in found.run_concurrency] == [2, 20]
    assert [(entry.limit, entry.scope.value) for entry in found.concurrency] == [(10, "fn"), (50, "account")]
    assert found.timeouts is not None
    assert (found.timeouts.start_ms, found.timeouts.finish_ms) == (3_600_000, 600_000)


def test_the_waits_between_retries_are_those_of_the_page() -> None:
    (text,) = re.findall(r"\*\*Retries\*\* wait (.*?) each time", PAGE)
    waits = re.findall(r"(\d+) ([smh])\b", text)
    assert tuple(int(number) * UNITS[unit] for number, unit in waits) == _TABLE_S
