"""What several tests of the command line begin with."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.cli_fakes import Upstream, platform, upstream


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, and an environment, in which nobody has set anything."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("STEPWELL_", "INNGEST_")):
            monkeypatch.delenv(name)


@pytest.fixture
def site() -> Iterator[tuple[str, type[Upstream]]]:
    """An upstream to fetch from."""
    with upstream() as made:
        yield made


@pytest.fixture
def port() -> Iterator[int]:
    """A platform that runs."""
    with platform() as number:
        yield number
