"""The pictures in README.md and the docs: each is one that is made here, and all that is made is shown."""

import re
import struct
from pathlib import Path

import pytest

from tests.browser.shots import FOLDER, PICTURES, take

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MOST = 150_000
"""Bytes of one picture: they are in the repository."""


def shown() -> set[str]:
    """The pictures that pages show, from the top of the repository."""
    found: set[str] = set()
    for page in PAGES:
        named = re.findall(r"""(?:\]\(|src=")([^)"\s]+\.png)""", page.read_text(encoding="utf-8"))
        found |= {str((page.parent / name).resolve().relative_to(ROOT)) for name in named}
    return found


def test_every_picture_that_pages_show_is_made_here_and_is_there() -> None:
    made = {f"{FOLDER}/{picture.name}.png" for picture in PICTURES}
    assert shown() == made
    assert {f"{FOLDER}/{path.name}" for path in (ROOT / FOLDER).iterdir()} == made
    assert {path.name: path.stat().st_size for path in (ROOT / FOLDER).iterdir() if path.stat().st_size > MOST} == {}


@pytest.mark.browser
async def test_the_pictures_are_made(tmp_path: Path) -> None:
    folder = tmp_path / "shots"
    folder.mkdir()
    made = await take(folder, tmp_path)
    assert [path.stem for path in made] == [picture.name for picture in PICTURES]
    for path, picture in zip(made, PICTURES, strict=True):
        data = path.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", data[16:24]) == (picture.width, picture.height)
        assert 10_000 < len(data) < MOST, "an empty page, or one too rich for the repository"
