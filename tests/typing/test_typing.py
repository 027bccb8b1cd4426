"""What type checkers say about users' code: nothing about good code, and where it is wrong about bad."""

import json
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
EXPECTED = re.compile(r"# error: ([\w, ]+)")


def reported(*names: str) -> list[tuple[str, int, str]]:
    """File, line and rule of each error."""
    files = [str(FOLDER / name) for name in names]
    checker = [sys.executable, "-m", "basedpyright", "--outputjson", "--level", "error", *files]
    run = subprocess.run(checker, cwd=ROOT, capture_output=True, text=True, check=False, timeout=55)
    found = json.loads(run.stdout)["generalDiagnostics"]
    return [(Path(each["file"]).name, each["range"]["start"]["line"] + 1, each.get("rule", "")) for each in found]


def expected(name: str) -> set[tuple[int, str]]:
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    marked = [(number, EXPECTED.search(line)) for number, line in enumerate(lines, 1)]
    return {(number, rule) for number, found in marked if found for rule in found[1].split(", ")}


def test_wrong_fields_results_and_arguments_are_type_errors_and_nothing_else_is() -> None:
    found = reported("good.py", "bad.py")
    assert [each for each in found if each[0] == "good.py"] == []
    rules = {(line, rule) for name, line, rule in found if name == "bad.py"}
    wanted = expected("bad.py")
    assert len(wanted) > 10
    assert wanted - rules == set()
    assert {line for line, _ in rules} - {line for line, _ in wanted} == set()
