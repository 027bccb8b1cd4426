"""The index of the documentation has every page and every option; the tutorial does what it says."""

import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import stepwell
from stepwell.testing import ScriptedHttp

DOCS = Path(__file__).parents[2] / "docs"
INDEX = (DOCS / "README.md").read_text(encoding="utf-8")


def test_the_index_has_every_page() -> None:
    pages = {page.name for page in DOCS.glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"({page})" not in INDEX} == set()


def test_the_index_says_where_each_option_is_explained_and_it_is_there() -> None:
    places = {
        option: DOCS / page
        for options, page in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| \[.*?\]\((.*?)\)", INDEX, re.MULTILINE)
        for option in re.findall(r"`(\w+)`", options)
    }
    assert set(places) == set(inspect.signature(stepwell.Client.create_function).parameters) - {"self"}
    absent = {option for option, page in places.items() if option not in page.read_text(encoding="utf-8")}
    assert absent == set()


def test_headings_that_the_pages_link_to_are_there() -> None:
    for page in DOCS.glob("*.md"):
        for target, anchor in re.findall(r"\]\(([\w.-]*)#([\w-]+)\)", page.read_text(encoding="utf-8")):
            text = (DOCS / (target or page.name)).read_text(encoding="utf-8")
            headings = [
                re.sub(r"[^\w -]", "", found).strip().lower() for found in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
            ]
            assert anchor in [heading.replace(" ", "-") for heading in headings], (page.name, target, anchor)


def test_the_tutorial_s_own_test_passes(stepwell_http: ScriptedHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    code, test = re.findall(r"```python\n(.*?)```", (DOCS / "first-function.md").read_text(encoding="utf-8"), re.DOTALL)
    app = ModuleType("app")
    exec(code, vars(app))
    monkeypatch.setitem(sys.modules, "app", app)
    names: dict[str, Any] = {"__name__": "test_app"}
    exec(test, names)
    names["test_order"](stepwell_http)
