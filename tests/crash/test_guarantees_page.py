"""docs/guarantees.md has the crash points that there are, in the same words, and says what the matrix checks."""

import re
from pathlib import Path

from stepwell.testing.platform.crash_points import POINTS
from tests.crash.test_kill_matrix import CELLS, SENT

PAGE = (Path(__file__).parents[2] / "docs" / "guarantees.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([\w-]+)` \| (.*?) \| .* \| (.*?) ?\|$", PAGE, re.MULTILINE)


def test_every_point_is_in_the_table_once() -> None:
    assert [(name, words) for name, words, _ in ROWS] == list(POINTS.items())


def test_how_often_an_upstream_sees_a_request_is_what_the_cells_check() -> None:
    assert {name: sent for name, _, sent in ROWS if sent} == {
        name: f"{killed} / {stalled}" for name, (killed, stalled) in SENT.items()
    }
    assert {cell.point for cell in CELLS} >= set(SENT)
