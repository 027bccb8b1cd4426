"""The reference page of ``fetch`` names every option, with its default, and nothing else."""

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx2
import pytest

from stepwell import Retry
from stepwell.core.fetches import prepare
from stepwell.sdk import fetch, fetching
from stepwell.server.fetcher.client import Limits
from stepwell.wire.constants import MAX_FETCH_BODY
from stepwell.wire.fetch import RETRY_STATUSES, FetchPolicy
from stepwell.wire.fetch_policy import _READERS

PAGE = (Path(__file__).parents[2] / "docs/durable-http.md").read_text(encoding="utf-8")
POLICY: dict[str, Any] = {name: getattr(FetchPolicy(), name) for name in FetchPolicy.__struct_fields__}


def table(head: str) -> dict[str, list[str]]:
    """The cells of each row, by the names in the first one."""
    rows = PAGE.split(f"| {head} |")[1].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    return {name: row[1:] for row in cells for name in re.findall(r"`([^`]+)`", row[0])}


OPTIONS, RETRY, HEADERS = table("option"), table("of `Retry`"), table("header")


def test_every_option_is_on_the_page() -> None:
    assert list(OPTIONS) == sorted(OPTIONS, key=list(OPTIONS).index)
    assert set(OPTIONS) == set(fetching.FetchOptions.__annotations__)
    assert list(RETRY) == [field.name for field in fields(Retry)]
    assert set(HEADERS) == set(_READERS)


@pytest.mark.parametrize("name", ["at_most_once", "follow_redirects", "poll", "callback", "idempotency_header"])
def test_defaults_on_the_page_are_the_defaults(name: str) -> None:
    shown = OPTIONS[name][1].strip("`")
    assert shown == (json.dumps(POLICY[name]) if isinstance(POLICY[name], str) else repr(POLICY[name]))
    assert getattr(fetching.prepare("http://h/", {}).policy, name) == POLICY[name]


def test_other_defaults_on_the_page() -> None:
    assert (Retry().min_delay, Retry().max_delay) == (float(RETRY["min_delay"][1]), float(RETRY["max_delay"][1]))
    assert sorted(RETRY_STATUSES) == [int(status) for status in RETRY["on"][1].split(", ")]
    assert MAX_FETCH_BODY == 64 * 2**20
    assert "64 MiB" in OPTIONS["max_body"][1]
    assert (Limits().connect, Limits().read, Limits().write) == (10, 7200, 7200)
    assert OPTIONS["timeout"][1].startswith("connect 10 s, read and write 2 h")
    assert fetching.prepare("http://h/p?q", {}).step_id == "GET h/p"


def test_the_rest_is_what_httpx_takes() -> None:
    known = set(inspect.signature(httpx2.AsyncClient.request).parameters)
    ours = set(fetching.FetchOptions.__annotations__) - known
    assert ours == fetch._OURS
    assert known - set(fetching.FetchOptions.__annotations__) == {"self", "url", "extensions"}


def test_the_key_goes_into_the_header_of_that_name() -> None:
    asked = fetching.prepare("http://h/", {"method": "POST", "idempotency_header": "X-Key", "idempotency_key": "k"})
    assert prepare(asked.body(), "run", "step").headers[-1] == ("X-Key", "k")
    asked = fetching.prepare(
        "http://h/", {"method": "POST", "idempotency_header": "X-Key", "headers": {"x-key": "own"}}
    )
    assert [value for name, value in prepare(asked.body(), "run", "step").headers if name.lower() == "x-key"] == ["own"]
