"""The statements of the hot path read by index alone, whatever the tables held when their plan was made.

Such a plan is kept while the connection lives (``begin``). So each is looked at as it is made on tables that are empty,
that held a single run when they were analysed, and that have hundreds of thousands of rows, counted or not.
"""

import os
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stepwell.server.store.postgres.connect import PLANS, connect
from stepwell.server.store.postgres.queries import SQL, texts
from stepwell.testing.platform.postgres import clean_database

ROWS = 200_000 if os.environ.get("CI") == "true" else 40_000
FILL = """
INSERT INTO stepwell.items (run_id, key, seq, due_at, claim, owner, gate, attempt, rescues, expires_at, data)
SELECT 'R' || n, 'step', n, n, 0, CASE WHEN n % 10 = 0 THEN 'me' END, CASE WHEN n % 10 = 1 THEN 'g' || n % 7 END, 0, 0,
    CASE WHEN n % 100 = 1 THEN n END, '' FROM generate_series({first}, {last}) AS n;
INSERT INTO stepwell.runs (run_id, function_id, app_id, status, version, queued_at, data)
SELECT 'R' || n, 'f' || n % 9, 'app', 'running', 1, n, '' FROM generate_series({first}, {last}) AS n;
INSERT INTO stepwell.run_keys (function_id, key, expires_at, run_id)
SELECT 'f' || n % 9, 'k' || n, n, 'R' || n FROM generate_series({first}, {last}) AS n;
INSERT INTO stepwell.steps (run_id, step_id, data)
SELECT 'R' || n / 3, 's' || n, '' FROM generate_series({first}, {last}) AS n;
INSERT INTO stepwell.waits (run_id, step_id, seq, name, path, value, signal, data)
SELECT 'R' || n, 's', n, 'paid', CASE WHEN n % 3 = 0 THEN '' ELSE 'p' || n % 3 END, int4send(n::int4), NULL, ''
FROM generate_series({first}, {last}) AS n;
INSERT INTO stepwell.holds (run_id, bucket) SELECT 'R' || n, 'b' || n % 50 FROM generate_series({first}, {last}) AS n;
INSERT INTO stepwell.gates (gate, buckets, opens_at)
SELECT 'g' || n, ARRAY['b' || n % 50], 1 + n FROM generate_series({first}, {last}, 10) AS n;
"""
ANALYSE = "; ".join(
    f"ANALYZE stepwell.{table}" for table in ("items", "runs", "run_keys", "steps", "waits", "holds", "gates")
)
KEPT = (
    *(
        "look",
        "write",
        "ready_items",
        "parked_items",
        "expired_items",
        "opening_gates",
        "open_gates",
        "lock_items",
        "versions",
    ),
    *(
        "used",
        "flows",
        "holds_of_runs",
        "touch_items",
        "park_items",
        "put_waits",
        "drop_waits",
        "next_due",
        "admissions",
    ),
)
"""The statements of a transaction."""
EACH_TIME = {
    "headers": (["R1", "R2"],),
    "steps_of_runs": (["R1", "R2"],),
    "find_waits": ("paid", ["", "p1"], [b"", b"\0\0\0\1"], -1, 2**40, 50),
    "waited_places": ("paid",),
    "free_items": (0, [1, 2]),
}
"""Planned for the values that they have."""
PLACES = [f"R{n}" for n in range(1, 41)]
ASKED = (PLACES, ["f1"], ["k1"], PLACES, ["step"] * 40, ["R77"], PLACES, ["s"] * 40, ["signal"], ["paid", "none"])
LOOK = (*map(texts, ASKED), 50_000, 100)
BUFFERS = 4_000
"""Pages of 8 KiB that one transaction may look at: 300 or so places, each a few levels deep in its index."""


@asynccontextmanager
async def tables(before: int, *, analysed: bool, after: int = 0) -> AsyncGenerator[Any]:
    """A connection to tables with so many rows when statements are prepared; then ``after`` rows are added, uncounted."""
    conn = await connect(await clean_database(), command_s=60)
    transaction = conn.transaction()
    await transaction.start()
    try:
        if before:
            await conn.execute(FILL.format(first=1, last=before))
        if analysed:
            await conn.execute(ANALYSE)
        await prepare(conn)
        if after:
            await conn.execute(FILL.format(first=before + 1, last=before + after))
        yield conn
    finally:
        await transaction.rollback()
        await conn.execute("DEALLOCATE ALL")
        await conn.close()


async def prepare(conn: Any) -> None:
    """As a connection of the store does, and make the plans that are kept."""
    await conn.execute("; ".join(f"SET LOCAL {key} = {value}" for key, value in PLANS.items()))
    await conn.execute(SQL.begin.partition(";")[2])
    for name in KEPT:
        await conn.execute(f"PREPARE plan_{name} AS {getattr(SQL, name)}")
        await plan_of(conn, name)


async def plan_of(conn: Any, name: str) -> str:
    """The plan that is kept."""
    count = max(int(number) for number in re.findall(r"\$(\d+)", getattr(SQL, name)))
    rows = await conn.fetch(f"EXPLAIN (COSTS OFF) EXECUTE plan_{name} ({', '.join(['NULL'] * count)})")
    return "\n".join(row[0] for row in rows)


STATES = {
    "empty, then many": (0, False, ROWS),
    "one run when it was analysed, then many": (1, True, ROWS),
    "many that nobody counted": (ROWS, False, 0),
    "many, counted": (ROWS, True, 0),
}


@pytest.mark.parametrize("state", STATES)
async def test_no_statement_of_the_hot_path_reads_a_whole_table(state: str) -> None:
    before, analysed, after = STATES[state]
    async with tables(before, analysed=analysed, after=after) as conn:
        for name in KEPT:
            plan = await plan_of(conn, name)
            assert "Seq Scan" not in plan, f"{name}:\n{plan}"
        claiming = await plan_of(conn, "look")
        assert "Index Scan using items_ready" in claiming
        assert "Index Only Scan using items_ready" in claiming, claiming
        assert "Sort" not in claiming, claiming  # the oldest first, as the index has them
        (row,) = await conn.fetch("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + SQL.look, *LOOK)
        assert int(re.findall(r'"Shared Hit Blocks": (\d+)', row[0])[0]) < BUFFERS


async def test_what_is_planned_each_time_reads_by_index_too() -> None:
    async with tables(0, analysed=False, after=ROWS) as conn:
        await conn.execute(
            "SET LOCAL enable_sort = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on"
        )
        await conn.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        for name, values in EACH_TIME.items():
            rows = await conn.fetch(f"EXPLAIN (COSTS OFF) {getattr(SQL, name)}", *values)
            plan = "\n".join(row[0] for row in rows)
            assert re.findall(r"Seq Scan on (?:items|runs|waits|steps)\b", plan) == [], f"{name}:\n{plan}"
