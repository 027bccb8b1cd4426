"""Whatever runs point at each other: pruning deletes nothing that something reachable needs, and in the end all of the rest."""

import asyncio
import itertools
import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from stepwell.core.model import Item, Run, RunStatus, WorkKind
from stepwell.core.outputs import Commit
from stepwell.core.runs import waiting_steps
from stepwell.server.store.base import EventQuery, Old, Outcome, Prune, RunQuery, Store
from stepwell.server.store.memory import MemoryStore
from stepwell.server.store.postgres import PostgresStore
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.testing.platform.postgres import clean_database
from stepwell.testing.platform.prune_conformance import BEFORE, NOW, OLD, ended, prune, put, there

EXAMPLES = 120 if os.environ.get("CI") == "true" else 20
ROUNDS = 60 if os.environ.get("CI") == "true" else 15


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Run, bool]]:
    """Runs, each younger than those before it, and whether it has work."""
    made: list[Run] = []
    for number in range(1, draw(st.integers(1, 9)) + 1):
        earlier = st.sampled_from(made) if made else st.nothing()
        original = draw(st.none() | earlier)
        parents = draw(st.lists(earlier, max_size=2 if made else 0)) if original is None else []
        goes_on = draw(st.integers(0, 3)) == 0
        run = ended(
            number,
            status=RunStatus.RUNNING if goes_on else draw(st.sampled_from([RunStatus.COMPLETED, RunStatus.FAILED])),
            ended_at=None if goes_on else draw(st.sampled_from([OLD, OLD, OLD + 50, BEFORE - 1, BEFORE, NOW])),
            parent=f"{parents[0].run_id}.s" if parents else None,
            parents=tuple(f"{one.run_id}.t" for one in parents[1:]),
        )
        if original is not None:
            run = replace(run, original=original.run_id, event_ids=original.event_ids)
        made.append(run)
    return [(run, draw(st.integers(0, 5)) == 0) for run in made]


def needed(history: list[tuple[Run, bool]]) -> set[str]:
    """What has to stay, found by following every pointer from what stays by itself."""
    runs = {run.run_id: run for run, _ in history}
    stays = {run.run_id for run, busy in history if busy or run.ended_at is None or run.ended_at >= BEFORE}
    live = {run.run_id for run, _ in history if run.ended_at is None}
    stays |= {run.run_id for run in runs.values() if any(step.partition(".")[0] in live for step in waiting_steps(run))}
    while more := {runs[one].original for one in stays} - stays - {None}:
        stays |= {one for one in more if one is not None}
    return stays


async def fill(store: Store, history: list[tuple[Run, bool]]) -> None:
    await put(store, *(run for run, _ in history))
    work = [Item(run_id=run.run_id, key="s", kind=WorkKind.RESUME, due_at=NOW) for run, busy in history if busy]
    await store.transact([Commit(now=NOW, put=tuple(work))])


async def look(store: Store, history: list[tuple[Run, bool]], limit: int) -> tuple[list[str], list[str]]:
    """What is left after pruning again and again, of runs and of events."""
    while await prune(store, Old.RUNS, limit=limit):
        pass
    await prune(store, Old.EVENTS, limit=limit)
    left = await there(store)
    for run, _ in history:
        body = await store.load_body(f"{run.run_id}.b")
        assert body == (b"body" if run.run_id in left else None)
    return left, sorted(found.internal_id for found in await store.list_events(EventQuery(limit=100)))


@settings(deadline=None, max_examples=EXAMPLES)
@given(histories(), st.integers(1, 5))
def test_what_is_reachable_stays_and_the_rest_goes(history: list[tuple[Run, bool]], limit: int) -> None:
    async def both() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for store in (MemoryStore(), SQLiteStore(Path(folder) / "stepwell.db")):
                await store.open()
                await fill(store, history)
                runs, events = await look(store, history, limit)
                await store.close()
                assert set(runs) == needed(history)
                assert events == sorted({one for run, _ in history if run.run_id in runs for one in run.event_ids})

    asyncio.run(both())


async def test_a_run_is_repeated_or_deleted_never_both() -> None:
    """Two processes at the same moment: either the repetition finds nothing to repeat, or the run stays."""
    url = await clean_database()
    one, two = PostgresStore(url), PostgresStore(url)
    await one.open()
    await two.open()
    numbers = itertools.count(1)
    outcomes: set[Outcome] = set()
    for _ in range(ROUNDS):
        old = ended(next(numbers))
        again = replace(ended(next(numbers)), original=old.run_id, event_ids=old.event_ids, ended_at=NOW)
        await put(one, old)
        pruned, made = await asyncio.gather(
            one.prune(Prune(Old.RUNS, BEFORE)), two.transact([Commit(now=NOW, run=again, needs=old.run_id)])
        )
        await one.prune(Prune(Old.EVENTS, BEFORE))
        outcomes.update(made.outcomes)
        assert (pruned.count == 1) == (made.outcomes == [Outcome.CONFLICT])
        stored = {run.run_id for run in await one.list_runs(RunQuery(limit=1_000))}
        assert (old.run_id in stored) == (again.run_id in stored) == (made.outcomes == [Outcome.APPLIED])
        assert (await one.get_event(old.event_ids[0]) is not None) == (old.run_id in stored)
    await one.close()
    await two.close()
    assert outcomes <= {Outcome.APPLIED, Outcome.CONFLICT}
