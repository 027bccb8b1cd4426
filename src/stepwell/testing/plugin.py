"""The pytest plugin: the fixtures ``stepwell_http`` and ``stepwell_cassette``. Loaded by itself where stepwell is installed.

Everything but pytest is imported by the fixtures, when a test asks for one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from stepwell.testing.cassette import Cassette
    from stepwell.testing.http import ScriptedHttp

_LONGEST = 150
_MARKER = "stepwell_cassette(name=None, mode=None, mask=()): the cassette's file name and mode, more names to mask"


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--stepwell-cassettes``."""
    parser.getgroup("stepwell").addoption(
        "--stepwell-cassettes",
        choices=("once", "replay", "record", "none"),
        help="the mode of the stepwell_cassette fixture, whatever the tests say",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def stepwell_http() -> ScriptedHttp:
    """Scripted HTTP, empty: write rules, and give it to ``run_function(http=...)``."""
    from stepwell.testing.http import ScriptedHttp

    return ScriptedHttp()


@pytest.fixture
def stepwell_cassette(request: pytest.FixtureRequest) -> Generator[Cassette, None, None]:
    """A cassette of the test's own, at ``cassettes/<module>/<test>.json`` beside the test's file."""
    from stepwell.testing.cassette import Cassette

    node = cast("pytest.Item", request.node)  # pyright: ignore[reportUnknownMemberType]
    marker = node.get_closest_marker("stepwell_cassette")
    said: dict[str, Any] = dict(marker.kwargs) if marker is not None else {}
    if marker is not None and marker.args:
        said["name"] = marker.args[0]
    name = said.get("name") or _file_name(node)
    mode = node.config.getoption("--stepwell-cassettes") or said.get("mode") or "once"
    path = node.path.parent / "cassettes" / node.path.stem / f"{name}.json"
    cassette = Cassette(path, mode, mask=said.get("mask", ()))
    yield cassette
    cassette.save()


def _file_name(node: pytest.Item) -> str:
    """The test's name with its classes. Of one that is no file name as it is, the hash keeps it apart from others."""
    name = ".".join([each.name for each in node.listchain() if isinstance(each, pytest.Class)] + [node.name])
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-")
    if re.fullmatch(r"[\w.]+(\[[\w.-]*\])?", name) and len(plain) <= _LONGEST:
        return plain
    return f"{plain[:_LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
