"""The tables of the soak: filled with runs that wait, counted in the end, weighed."""

import asyncio
import os
import time
from typing import Any

import aiohttp
import msgspec
from msgspec.structs import replace

from benchmarks.peers import CONDITION
from stepwell.core.model import Item, RunView, StoredEvent
from stepwell.core.outputs import Commit
from stepwell.core.waits import wait_for_event
from stepwell.server.build import open_store
from stepwell.server.store.base import RunQuery, Store
from stepwell.server.store.postgres.connect import connect
from stepwell.wire.ids import ulid

WAITING, REPLY = "bench-wait", "bench.reply"
"""The function that waits, and what for."""
_BATCH = 500
_TABLES = ("runs", "events", "steps", "items", "waits", "run_keys", "runs_of_event")
_COUNTS = {
    "runs of one step": "SELECT count(*) FROM stepwell.runs WHERE function_id = 'bench-step' AND status = 'completed'",
    "steps of theirs": "SELECT count(*) FROM stepwell.steps JOIN stepwell.runs USING (run_id) WHERE function_id = 'bench-step'",
    "runs that were woken": "SELECT count(*) FROM stepwell.runs WHERE function_id = 'bench-wait' AND status = 'completed'",
    "runs that wait": "SELECT count(*) FROM stepwell.waits",
    "items left": "SELECT count(*) FROM stepwell.items",
    "claims left": "SELECT count(*) FROM stepwell.items WHERE owner IS NOT NULL",
}


async def fill(session: aiohttp.ClientSession, database: str, server: str, waiting: int) -> float:
    """Have one run wait, and store as many like it; the seconds that it took."""
    store = open_store(database, keys=[os.environ["STEPWELL_ENCRYPTION_KEY"]])
    await store.open()
    try:
        async with session.post(f"{server}/e/bench", json={"name": WAITING, "data": {"n": -1}}) as response:
            response.raise_for_status()
        model = await _waiting_run(store)
        began = time.monotonic()
        for first in range(0, waiting, _BATCH):
            await store.transact([_like(*model, number) for number in range(first, min(first + _BATCH, waiting))])
        return time.monotonic() - began
    finally:
        await store.close()


async def _waiting_run(store: Store) -> tuple[RunView, StoredEvent, Item]:
    """The first run of the function, once it waits; its event; the item of its time-out."""
    while True:
        for run in await store.list_runs(RunQuery(function_id=WAITING)):
            (view,) = await store.load_runs([run.run_id])
            items = await store.list_items(run.run_id)
            event = await store.get_event(run.event_ids[0])
            if view.steps and event is not None and [item.key for item in items] == list(view.steps):
                return view, event, items[0]
        await asyncio.sleep(0.1)


def _like(view: RunView, event: StoredEvent, timer: Item, number: int) -> Commit:
    """A run that waits for the reply with its own number."""
    now = event.received_at
    run_id, event_id = (ulid(now, kind + number.to_bytes(9, "big")) for kind in (b"\1", b"\2"))
    body: dict[str, Any] = msgspec.json.decode(event.body)
    body["data"]["n"] = number
    sent = replace(event, internal_id=event_id, event_id=event_id, body=msgspec.json.encode(body))
    run = replace(view.run, run_id=run_id, event_ids=(event_id,))
    (step,) = view.steps.values()
    opts = msgspec.json.encode({"event": REPLY, "timeout": "30d", "if": CONDITION})
    wait, _ = wait_for_event(run, step.step_id, REPLY, opts, sent.body)
    steps = (replace(step, run_id=run_id),)
    return Commit(now=now, run=run, events=(sent,), steps=steps, waits=(wait,), put=(replace(timer, run_id=run_id),))


async def until_ended(database: str, events: int, replies: int, waiting: int, seconds: float) -> list[str]:
    """Wait until all runs have ended; a sentence for whatever is not as it has to be then."""
    left = waiting + bool(waiting) - replies
    wanted = dict(zip(_COUNTS, (events, events, replies, left, left, 0), strict=True))
    end = time.monotonic() + seconds
    while True:
        found = await _counts(database)
        if found == wanted or time.monotonic() > end:
            return [
                f"LOST: {name}: {found[name]:,}, and not {wanted[name]:,}"
                for name in wanted
                if found[name] != wanted[name]
            ]
        await asyncio.sleep(2)


async def _counts(database: str) -> dict[str, int]:
    conn = await connect(database, 120)
    try:
        return {name: await conn.fetchval(sql) for name, sql in _COUNTS.items()}
    finally:
        await conn.close()


async def logged(database: str) -> int:
    """Bytes of the write-ahead log so far."""
    conn = await connect(database)
    try:
        return await conn.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
    finally:
        await conn.close()


async def sizes(database: str) -> list[str]:
    """What each table has come to, with its indexes."""
    conn = await connect(database, 120)
    try:
        lines = ["table             rows    MB  bytes a row"]
        for table in _TABLES:
            rows = await conn.fetchval(f"SELECT count(*) FROM stepwell.{table}")
            size = await conn.fetchval(f"SELECT pg_total_relation_size('stepwell.{table}')")
            lines.append(f"{table:14} {rows:9,} {size / 1e6:6.1f} {size / max(1, rows):12,.0f}")
        return lines
    finally:
        await conn.close()
