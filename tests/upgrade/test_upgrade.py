"""Runs that an older version left in flight go on in this one, and end; what was recorded stays as it was."""

from pathlib import Path

import pytest

from tests.upgrade.older import FIXTURES, migrated, older, runs_go_on


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
async def test_runs_in_flight_go_on_in_the_new_version(
    fixture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = await older(fixture, tmp_path)
    await migrated(db)
    await runs_go_on(db, monkeypatch)


def test_there_is_a_fixture_for_each_store() -> None:
    assert {fixture.stem.partition("_")[0] for fixture in FIXTURES} == {"sqlite", "postgresql"}
