"""The schema of a cell's database: which version it has, and what is in it."""

from typing import Any

from stepwell.server.store.migrate import load_migrations
from stepwell.testing.platform.crash_points import MIGRATION_POINTS
from tests.crash.matrix_places import Place

STORES = ("sqlite", "postgresql")
PLACES = [
    (point, store)
    for point in MIGRATION_POINTS
    for store in STORES
    if (point, store) != ("migration-stored", "postgresql")
]
"""Where whoever changes the schema can fall, and on which store."""
_COLUMNS = """SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
    WHERE table_schema = 'stepwell' ORDER BY 1, 2"""
_INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'stepwell' ORDER BY 1"
_SCHEMA = {"sqlite": ("SELECT type, name, sql FROM sqlite_master ORDER BY name",), "postgresql": (_COLUMNS, _INDEXES)}


def newest(store: str) -> int:
    """The version that a schema comes to."""
    return len(load_migrations(f"stepwell.server.store.{'sqlite' if store == 'sqlite' else 'postgres'}"))


async def schema(place: Place) -> list[Any]:
    """Tables, columns and indexes."""
    return [await place.rows(sql) for sql in _SCHEMA["postgresql" if place.shared else "sqlite"]]


async def version(place: Place) -> int:
    """Which it has; 0: there is none."""
    if place.shared:
        made = await place.rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'stepwell'")
        return (await place.rows("SELECT version FROM {s}schema_version"))[0][0] if made[0][0] else 0
    return (await place.rows("PRAGMA user_version"))[0][0]
