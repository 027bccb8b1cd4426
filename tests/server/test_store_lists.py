"""Lists on SQLite: rows of the schema before are in them, and no list looks at more rows than it has to."""

import sqlite3
from pathlib import Path

import pytest

from stepwell.core.model import Run, RunStatus, StoredEvent
from stepwell.server.store.base import EventQuery, RunQuery
from stepwell.server.store.codec import encode
from stepwell.server.store.migrate import load_migrations
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.server.store.sqlite.connect import APPLICATION_ID
from stepwell.server.store.sqlite.queries import SQL

EVENT = StoredEvent(internal_id="E1", event_id="x", name="shop/paid", received_at=1_795_000_000_000, body=b"{}")
RUN = Run(run_id="R1", function_id="shop-pay", app_id="shop", status=RunStatus.FAILED, event_ids=("E1",))
LISTS = ("list_runs", "list_runs_of_status", "list_runs_of_function", "list_runs_of_app", "list_runs_of_event")


def before_lists(path: Path) -> None:
    """A file as the version before wrote it."""
    conn = sqlite3.connect(path)
    for migration in load_migrations("stepwell.server.store.sqlite"):
        if migration.name == "lists":
            break
        conn.executescript(migration.sql)
        conn.executescript(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={migration.number};")
    conn.execute("INSERT INTO events (internal_id, data) VALUES ('E1', ?)", (encode(EVENT),))
    values = ("R1", "shop-pay", "failed", 1, 5, encode(RUN))
    conn.execute(
        "INSERT INTO runs (run_id, function_id, status, version, queued_at, data) VALUES (?,?,?,?,?,?)", values
    )
    conn.commit()
    conn.close()


async def test_rows_from_before_there_were_lists(tmp_path: Path) -> None:
    before_lists(tmp_path / "s.db")
    store = SQLiteStore(tmp_path / "s.db")
    await store.open()
    assert await store.list_events(EventQuery(name="shop/paid", after=EVENT.received_at - 1)) == [EVENT]
    assert await store.list_events(EventQuery(until=EVENT.received_at)) == []
    assert await store.list_runs(RunQuery(app_id="shop")) == [RUN]
    await store.close()


@pytest.mark.parametrize("name", [*LISTS, "list_events", "list_events_of_name"])
async def test_a_list_reads_along_an_index(tmp_path: Path, name: str) -> None:
    """No table is read whole, and nothing is sorted."""
    store = SQLiteStore(tmp_path / "s.db")
    await store.open()
    await store.close()
    conn = sqlite3.connect(tmp_path / "s.db")
    names = ("before", "after", "until", "limit", "status", "function_id", "event_id", "app_id", "name", "at")
    plan = conn.execute(f"EXPLAIN QUERY PLAN {getattr(SQL, name)}", dict.fromkeys(names, 1)).fetchall()
    conn.close()
    assert [step for *_, step in plan if "SCAN" in step or "TEMP B-TREE" in step] == []
    assert plan
