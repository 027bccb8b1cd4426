"""The kill matrix, migrations: whoever falls while the schema is made or changed, the next start ends it, and all is well."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepwell.server.store.migrate import load_migrations
from stepwell.server.store.postgres.schema import migrate
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.testing.platform.crash_migrations import halves
from stepwell.testing.platform.postgres import make_database
from tests.crash.matrix import Cell, Scene, scene
from tests.crash.matrix_places import Place, Postgres, SQLite
from tests.crash.matrix_processes import until
from tests.crash.matrix_schema import PLACES, STORES, newest, schema, version
from tests.crash.nursery import Nursery

KILLS = [Cell(point, "SIGKILL", store, "both") for point, store in PLACES]
USUAL = [Cell("migration-begun", "SIGKILL", store, "both") for store in STORES]
STALLS = [Cell(point, "SIGSTOP", store, "both") for point, store in PLACES if point != "migration-stored"]
USUAL_STALLS = [Cell("migration-begun", "SIGSTOP", "postgresql", "both")]
ALL = os.environ.get("CI") == "true"


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


async def empty(store: str, folder: Path) -> Place:
    return SQLite(folder / "state.db") if store == "sqlite" else Postgres(await make_database())


async def untroubled(store: str, folder: Path) -> Place:
    """A database that was made in peace."""
    place = await empty(store, folder)
    if isinstance(place, SQLite):
        made = SQLiteStore(place.path)
        await made.open()
        await made.close()
    else:
        await migrate(place.url)
    return place


async def all_is_well(at: Scene, folder: Path) -> None:
    """The schema is that of an untroubled database, and runs come to their ends on it."""
    at.upstream.read_along.set()
    server = await at.successor("last")
    await at.over(server)
    await server.stop()
    await at.check()
    folder.mkdir()
    assert await schema(at.place) == await schema(await untroubled(at.cell.store, folder))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("found", KILLS if ALL else USUAL, ids=str)
async def test_a_killed_migration_is_ended_by_the_next_start(found: Cell, nursery: Nursery, tmp_path: Path) -> None:
    last = newest(found.store)
    async with scene(found, nursery, tmp_path, await empty(found.store, tmp_path)) as at:
        for number in range(1, last + 1) if ALL else (1, last):
            nth = number - await version(at.place)
            falling = at.server(f"at-{number}", at.crash(f"at-{number}", found.point, nth))
            assert await falling.fallen() == str(number)
            kept = number if found.point == "migration-stored" else number - 1
            assert await version(at.place) == (0 if at.place.shared else kept), "one transaction, or one for each"
        await all_is_well(at, tmp_path / "peace")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("found", STALLS if ALL else USUAL_STALLS, ids=str)
async def test_nobody_waits_for_ever_for_a_stalled_migration(found: Cell, nursery: Nursery, tmp_path: Path) -> None:
    async with scene(found, nursery, tmp_path, await empty(found.store, tmp_path)) as at:
        first = at.server("first", at.crash("first"))
        await first.fallen()
        second = at.server("second")
        if at.place.shared:  # what the stalled one did is undone, and the second one does it
            await second.ready()
            first.signal(signal.SIGCONT)
            await second.stop()
        else:  # the file has one owner, also while that one stalls; it goes on
            await until(lambda: _gone(second), at.logs)
            assert "is in use by process" in second.log.read_text()
            first.signal(signal.SIGCONT)
            await first.ready()
        await first.stop()
        await all_is_well(at, tmp_path / "peace")


async def _gone(process: Any) -> bool:
    return not process.state


@pytest.mark.parametrize("package", ["sqlite", "postgres"])
def test_migrations_are_cut_behind_statements(package: str) -> None:
    for migration in load_migrations(f"stepwell.server.store.{package}"):
        first, second = halves(migration.sql)
        assert first + second == migration.sql
        assert first.rstrip().endswith(";")
    assert halves("SELECT 1;\nSELECT 2;\n") == ("SELECT 1;\n", "SELECT 2;\n")
    assert halves("DO $$ BEGIN\nSELECT 1;\nEND $$;\n") == ("DO $$ BEGIN\nSELECT 1;\nEND $$;\n", "")
