"""The page on schedules does what it says, and names every word that can be written."""

import re
from pathlib import Path
from typing import Any

import pytest

from stepwell.core.cron import _WORDS, problem  # pyright: ignore[reportPrivateUsage]

PAGE = (Path(__file__).parent.parent.parent / "docs" / "cron.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the page's code defines."""
    found: dict[str, Any] = {}
    exec("\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)), found)
    return found


@pytest.mark.parametrize("name", ["test_daily", "test_asked"])
def test_the_page_s_own_tests_pass(page: dict[str, Any], name: str) -> None:
    page[name]()


def test_the_words_are_all_of_them_and_mean_what_the_page_says() -> None:
    rows = re.findall(r"^\| (`@.*?) \| `(.*?)` \|$", PAGE, re.MULTILINE)
    assert {word: cron for words, cron in rows for word in re.findall(r"@\w+", words)} == _WORDS


@pytest.mark.parametrize("day", ["L", "LW"])
@pytest.mark.parametrize("weekday", ["5L", "MON#2", "7", "*"])
def test_the_special_days_can_be_written(day: str, weekday: str) -> None:
    assert problem(f"0 9 {day} JAN {weekday}") is None
