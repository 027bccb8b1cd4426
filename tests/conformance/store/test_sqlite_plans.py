"""The statements of the hot path read the file by index, empty or full, analysed or not."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stepwell.server.store.sqlite import SQLiteStore
from stepwell.server.store.sqlite.queries import SQL

ROWS = 40_000
HOT = (
    *(
        "versions",
        "keys",
        "headers",
        "admissions",
        "stored_waits",
        "waited",
        "signal_holders",
        "find_waits",
        "item_seq",
    ),
    *("ready_items", "parked_items", "next_expiry", "next_due", "drop_items", "delete_items", "touch_item"),
    *(
        "claim_items",
        "park_item",
        "free_items",
        "drop_waits",
        "drop_holds",
        "run",
        "event",
        "steps_of_run",
        "items_of_run",
    ),
    *("waited_places", "find_signal", "waiting_names", "due_of_run"),
)
OF_ONE_RUN = ("items_of_run", "due_of_run")
"""Few rows, which may be sorted."""
_SERIES = "WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series LIMIT :rows) INSERT INTO"
FILL = {
    "items (run_id, key, due_at, claim, owner, gate, attempt, rescues, data)": "'R' || n, 'step', n, 0, "
    "CASE WHEN n % 10 = 0 THEN 'me' END, CASE WHEN n % 10 = 1 THEN 'g' || (n % 7) END, 0, 0, x''",
    "runs (run_id, function_id, app_id, status, version, queued_at, data)": "'R' || n, 'f' || n, 'a', 'queued', 1, n, x''",
    "run_keys (function_id, key, expires_at, run_id)": "'f' || (n % 9), 'k' || n, n, 'R' || n",
    "steps (run_id, step_id, data)": "'R' || (n / 3), 's' || n, x''",
    "waits (run_id, step_id, seq, name, path, value, data)": "'R' || n, 's', n, 'paid', 'p' || (n % 3), x'00', x''",
    "holds (run_id, bucket)": "'R' || n, 'b' || (n % 50)",
}


@pytest.mark.parametrize(("rows", "analysed"), [(0, False), (ROWS, False), (ROWS, True)])
async def test_no_statement_of_the_hot_path_reads_a_whole_table(tmp_path: Path, rows: int, analysed: bool) -> None:
    store = SQLiteStore(tmp_path / "s.db")
    await store.open()
    await store.close()
    with closing(sqlite3.connect(tmp_path / "s.db")) as conn:
        for table, values in FILL.items() if rows else ():
            conn.execute(f"{_SERIES} {table} SELECT {values} FROM series", {"rows": rows})
        if analysed:
            conn.execute("ANALYZE")
        for name in HOT:
            found = plan(conn, name)
            assert (
                re.findall(r"SCAN (?:items|runs|run_keys|steps|events|waits|holds)\b(?! USING COVERING)", found) == []
            ), found
            assert name in OF_ONE_RUN or "TEMP B-TREE" not in found, f"{name}: {found}"
        assert "SEARCH items USING INDEX items_ready" in plan(conn, "ready_items")


def plan(conn: sqlite3.Connection, name: str) -> str:
    sql = getattr(SQL, name)
    named = set(re.findall(r":(\w+)", sql))
    values = dict.fromkeys(named, 1) if named else [1] * sql.count("?")
    return "\n".join(row[-1] for row in conn.execute(f"EXPLAIN QUERY PLAN {sql}", values))
