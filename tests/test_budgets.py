"""The gates that no tool checks for us: sizes, what pure packages may name, what the repository may speak of."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PURE = [path for path in SOURCES if path.relative_to(ROOT / "src/stepwell").parts[0] in {"core", "wire"}]
# import-linter sees whole external packages only; these submodules do IO as well
IMPURE = {"urllib.request", "http.client", "http.server", "multiprocessing", "subprocess", "select", "ssl", "logging"}
CLOCKS = {"now", "utcnow", "today", "uuid1", "uuid4", "open", "print", "input"}
LOCKS = [
    "constraints.txt",
    "examples/typescript/package-lock.json",
    "tests/conformance/sdks/npm/package-lock.json",
]
# Spelt in pieces, so that this file may be read like the others.
MACHINE = re.compile(r"(?<![\w.:/-])/(?:work|root|home|Users|opt)" + r"/[a-z]", re.IGNORECASE)
WORKPLACE = re.compile(r"\bsub-?" + r"agent|\bLLM" + "-written|Claude" + r" Code|\bissue " + r"#?\d")


def tracked() -> list[Path]:
    """What git would hold: tracked files, and new ones that are not ignored."""
    run = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(run, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1


def test_no_file_is_too_long() -> None:
    files = [path for path in tracked() if path.suffix in {".py", ".ts", ".mjs", ".js", ".sql", ".html", ".css"}]
    assert {str(path): lines(path) for path in files if lines(path) > 600} == {}


def test_files_are_small_as_a_rule() -> None:
    sizes = [size for size in map(lines, SOURCES) if size > 2]  # an empty __init__.py says nothing about size
    assert median(sizes) <= 150
    assert quantiles(sizes, n=10)[-1] < 400


def test_functions_are_short() -> None:
    sizes = dict(size for path in SOURCES for size in functions(path))
    assert {name: size for name, size in sizes.items() if size > 80} == {}
    assert median(sizes.values()) <= 10


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def called(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def test_core_and_wire_name_nothing_impure() -> None:
    found: list[str] = []
    for path in PURE:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        impure = (IMPURE & set(imported(tree))) | (CLOCKS & set(called(tree)))
        found += [f"{path.relative_to(ROOT)}: {name}" for name in sorted(impure)]
    assert found == []


@pytest.mark.parametrize(
    "source", ["import urllib.request", "from http import client", "t = datetime.now()", "print(1)"]
)
def test_the_purity_check_sees(source: str) -> None:
    tree = ast.parse(source)
    assert (IMPURE & set(imported(tree))) | (CLOCKS & set(called(tree)))


def test_the_repository_speaks_of_the_product_alone() -> None:
    found: list[str] = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image
        for pattern in (MACHINE, WORKPLACE):
            found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in pattern.finditer(text)]
    assert found == []


@pytest.mark.parametrize("name", LOCKS)
def test_lock_files_name_no_host(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.findall(r"\w+://[^\s\"]+|file:|@ ", text) == []
