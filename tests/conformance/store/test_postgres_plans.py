"""The statements of the hot path read by index, on tables that have grown from nothing and that nobody has analysed."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stepwell.server.store.postgres.connect import PLANS, connect
from stepwell.server.store.postgres.queries import SQL
from stepwell.testing.platform.postgres import clean_database

ROWS = 30_000
_FILL = f"""
INSERT INTO stepwell.items (run_id, key, seq, due_at, claim, owner, gate, attempt, rescues, expires_at, data)
SELECT 'R' || n, 'step', n, n, 0, CASE WHEN n % 10 = 0 THEN 'me' END, CASE WHEN n % 10 = 1 THEN 'g' || n % 7 END, 0, 0,
    CASE WHEN n % 100 = 1 THEN n END, ''
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO stepwell.runs (run_id, function_id, app_id, status, version, queued_at, data)
SELECT 'R' || n, 'f' || n % 9, 'app', 'running', 1, n, '' FROM generate_series(1, {ROWS}) AS n;
INSERT INTO stepwell.steps (run_id, step_id, data)
SELECT 'R' || n / 3, 's' || n, '' FROM generate_series(1, {ROWS}) AS n;
INSERT INTO stepwell.waits (run_id, step_id, seq, name, path, value, signal, data)
SELECT 'R' || n, 's', n, 'paid', CASE WHEN n % 3 = 0 THEN '' ELSE 'p' || n % 3 END, int4send(n::int4), NULL, ''
FROM generate_series(1, {ROWS}) AS n;
"""
PLACES = [f"R{n}" for n in range(1, 40)]
STATEMENTS: dict[str, tuple[Any, ...]] = {
    "ready_items": (ROWS, -1, -1, 50),
    "parked_items": ("g1", -1, -1, 50),
    "lock_items": (PLACES, ["step"] * len(PLACES)),
    "lock_items_of_runs": (PLACES,),
    "versions": (PLACES,),
    "delete_items": (list(range(1, 40)),),
    "claim_items": ("me", list(range(1, 40)), list(range(1, 40))),
    "free_items": (0, list(range(1, 40))),
    "steps_of_runs": (PLACES,),
    "headers": (PLACES,),
    "next_due": (ROWS // 2,),
    "gated": (0,),
    "find_waits": ("paid", ["", "p1"], [b"", b"\0\0\0\1"], -1, 2**40, 50),
    "stored_waits": (PLACES, ["s"] * len(PLACES)),
}


@pytest.fixture
async def grown() -> AsyncIterator[Any]:
    conn = await connect(await clean_database())
    for name, value in PLANS.items():
        await conn.execute(f"SET {name} = {value}")
    transaction = conn.transaction()
    await transaction.start()
    await conn.execute(_FILL)
    yield conn
    await transaction.rollback()
    await conn.close()


async def test_no_statement_of_the_hot_path_reads_a_whole_table(grown: Any) -> None:
    for name, values in STATEMENTS.items():
        rows = await grown.fetch(f"EXPLAIN (COSTS OFF) {getattr(SQL, name)}", *values)
        plan = "\n".join(row[0] for row in rows)
        assert re.findall(r"Seq Scan on (?:items|runs|waits|steps)\b", plan) == [], f"{name}:\n{plan}"
