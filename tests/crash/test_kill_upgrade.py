"""The kill matrix, migrations of an older database: whoever falls, the next start ends it, and runs in flight go on and end."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell.testing.platform.crash_points import Crash
from tests.crash.matrix_places import Postgres, SQLite
from tests.crash.matrix_processes import KEYS, Process
from tests.crash.matrix_schema import PLACES, newest, schema, version
from tests.crash.nursery import Nursery
from tests.upgrade.make import SEAL, from_postgres, from_sqlite
from tests.upgrade.older import FIXTURES, migrated, older, runs_go_on, version_of

ALL = os.environ.get("CI") == "true"
USUAL = [("migration-open", "sqlite"), ("migration-begun", "postgresql")]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


def place_of(db: str) -> SQLite | Postgres:
    return SQLite(Path(db.removeprefix("sqlite:///"))) if db.startswith("sqlite") else Postgres(db)


async def rows(place: SQLite | Postgres) -> list[str]:
    """All that is stored."""
    return from_sqlite(place.path) if isinstance(place, SQLite) else await from_postgres(place.url)


async def untroubled(fixture: Path, folder: Path) -> SQLite | Postgres:
    """The same database, migrated in peace."""
    folder.mkdir()
    db = await older(fixture, folder)
    await migrated(db)
    return place_of(db)


def migrating(nursery: Nursery, folder: Path, db: str, crash: Crash, name: str) -> Process:
    """Who migrates when a new version comes: ``stepwell serve`` a file, ``stepwell migrate`` what is shared."""
    made = Process(nursery, folder, name, crash)
    words = ["serve", "--port", str(made.port)] if db.startswith("sqlite") else ["migrate"]
    made.begin([*words, "--db", db], {**KEYS, "STEPWELL_ENCRYPTION_KEY": SEAL})
    return made


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("point", "store"), PLACES if ALL else USUAL)
async def test_runs_in_flight_survive_who_is_killed_in_the_migration(
    point: str, store: str, nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fixture,) = [one for one in FIXTURES if one.stem.startswith(store)]
    oldest, last = version_of(fixture), newest(store)
    db = await older(fixture, tmp_path)
    place = place_of(db)
    for number in range(oldest + 1, last + 1) if ALL else (oldest + 1, last):
        nth = number - await version(place)
        crash = Crash(point=point, nth=nth, told=str(tmp_path / f"at-{number}.told"))
        assert await migrating(nursery, tmp_path, db, crash, f"at-{number}").fallen() == str(number)
        kept = number if point == "migration-stored" else number - 1
        assert await version(place) == (oldest if place.shared else kept), "one transaction, or one for each"
    await migrated(db)
    peace = await untroubled(fixture, tmp_path / "peace")
    assert await schema(place) == await schema(peace)
    assert await rows(place) == await rows(peace)
    if ALL:  # elsewhere tests/upgrade shows it, on the same rows
        await runs_go_on(db, monkeypatch)
