"""Commits per second of the SQLite store by group size, on the disk that holds the folder.

Run ``python benchmarks/store.py [folder] [--busy]``; ``--busy`` adds a thread that keeps the interpreter occupied.
"""

import asyncio
import sys
import tempfile
import threading
import time
from pathlib import Path

from stepwell.core.model import Item, ItemRef, Limit, Run, RunStatus, Step, StepStatus, StoredEvent, WorkKind
from stepwell.core.outputs import Commit
from stepwell.server.store.base import ClaimRequest
from stepwell.server.store.sqlite import SQLiteStore


def _start(run_id: str) -> Commit:
    run = Run(run_id=run_id, function_id="fn", app_id="app", event_ids=(f"E{run_id}",))
    event = StoredEvent(internal_id=f"E{run_id}", event_id="e", name="n", received_at=1, body=b'{"data":{}}')
    return Commit(now=1, run=run, events=(event,), put=(_item(run_id, "step"),))


def _item(run_id: str, key: str, *limits: Limit) -> Item:
    return Item(run_id=run_id, key=key, kind=WorkKind.FETCH, due_at=1, limits=limits, payload=bytes(300))


def _step(run_id: str, number: int) -> Step:
    return Step(
        run_id=run_id,
        step_id=f"{number:040}",
        name="step",
        op="StepRun",
        status=StepStatus.COMPLETED,
        number=number,
        position=number,
        memo=b'{"data":"some result"}',
    )


def _end(item: Item) -> Commit:
    run = Run(run_id=item.run_id, function_id="fn", app_id="app", version=1, status=RunStatus.COMPLETED, output=b"1")
    return Commit(now=1, run=run, expected=0, steps=(_step(item.run_id, 0),), done=(_ref(item),), drop=True)


def _ref(item: Item) -> ItemRef:
    return ItemRef(item.run_id, item.key, item.claim)


async def runs_of_one_step(store: SQLiteStore, group: int, seconds: float, tag: str) -> float:
    """Each round ends a group of runs and starts the next; two commits a run."""
    held: list[Item] = []
    commits = rounds = 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        batch = [_end(item) for item in held] + [_start(f"{tag}-{rounds}-{n}") for n in range(group)]
        held = (await store.transact(batch, ClaimRequest("me", group, 1))).claimed
        commits, rounds = commits + len(batch), rounds + 1
    return commits / (time.perf_counter() - begin)


async def fan_out(store: SQLiteStore, tag: str, width: int, limit: int, group: int) -> float:
    """One run's items put at once and ended in groups, each with a step and the header; items per second."""
    limits = (Limit(f"b{tag}", limit),)
    begin = time.perf_counter()
    run = Run(run_id=tag, function_id="fn", app_id="app")
    items = tuple(_item(tag, f"{n:040}", *limits) for n in range(width))
    held = (await store.transact([Commit(now=1, run=run, put=items)], ClaimRequest("me", group, 1))).claimed
    done = 0
    while held:
        batch: list[Commit] = []
        for item in held:
            header = Run(run_id=tag, function_id="fn", app_id="app", version=done + 1)
            batch.append(Commit(now=1, run=header, expected=done, steps=(_step(tag, done),), done=(_ref(item),)))
            done += 1
        held = (await store.transact(batch, ClaimRequest("me", group, 1))).claimed
    assert done == width
    return width / (time.perf_counter() - begin)


async def main(folder: str | None, busy: bool) -> None:
    """Print the table; ``busy``: with another thread that keeps the interpreter occupied."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        store = SQLiteStore(Path(home) / "bench.db")
        await store.open()
        print("runs of one step, commits/s" + (" (beside a busy thread)" if busy else ""))
        for group in (1, 5, 25, 50, 100):
            print(f"  groups of {group:4}: {await runs_of_one_step(store, group, 0.6, f'{group}'):9,.0f}")
        print("300 items of one run: put, claimed, done; items/s")
        for limit, group in ((300, 300), (300, 50), (10, 50)):
            rates = [await fan_out(store, f"f{limit}-{group}-{n}", 300, limit, group) for n in range(3)]
            print(f"  limit {limit:4}, groups of {group:4}: {sorted(rates)[1]:9,.0f}")
        await store.close()


def _spin(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(500))


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--busy"]
    stop = threading.Event()
    if "--busy" in sys.argv:
        threading.Thread(target=_spin, args=(stop,), daemon=True).start()
    try:
        asyncio.run(main(arguments[0] if arguments else None, "--busy" in sys.argv))
    finally:
        stop.set()
