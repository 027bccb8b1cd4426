"""The laws of how runs start, on all stores: never above a limit, in order, nobody lost, whatever happens between."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.core.flow.pace import SLACK_MS
from stepwell.core.model import Item, ItemRef, Limit, Pace, Run, RunStatus, WorkKind
from stepwell.core.outputs import Commit
from stepwell.server.store.base import ClaimRequest, Store
from stepwell.server.store.memory import MemoryStore
from stepwell.server.store.postgres import PostgresStore
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.testing.platform.postgres import clean_database

_T = TypeVar("_T")
KINDS = pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])


def with_store(kind: str, test: Callable[[Store], Awaitable[_T]]) -> _T:
    async def run() -> _T:
        with tempfile.TemporaryDirectory() as folder:
            store: Store = MemoryStore() if kind == "memory" else SQLiteStore(Path(folder) / "stepwell.db")
            if kind == "postgres":
                store = PostgresStore(await clean_database())
            await store.open()
            try:
                return await test(store)
            finally:
                await store.close()

    return asyncio.run(run())


def starting(run_id: str, due_at: int, *holds: Limit, throttle: tuple[Pace, ...] = ()) -> Item:
    return Item(run_id=run_id, key="step", kind=WorkKind.CALL, due_at=due_at, holds=holds, paces=throttle)


class Runs:
    """Runs that a test starts and ends, and what must hold of them at every moment."""

    def __init__(self, store: Store, limits: dict[str, int]) -> None:
        self.store = store
        self.limits = limits
        self.waiting: dict[str, Item] = {}
        self.active: dict[str, Item] = {}
        self.claimed: dict[str, Item] = {}
        self.now = 0

    async def transact(self, *commits: Commit, most: int = 100) -> None:
        found = await self.store.transact(commits, ClaimRequest("me", most, self.now))
        for item in found.claimed:
            self.claimed[item.run_id] = item
            first = self.waiting.pop(item.run_id, None)
            if first is not None:
                self.active[item.run_id] = first
                before = [other for other in self.waiting.values() if other.holds == first.holds]
                assert all(first.due_at <= other.due_at for other in before), "an older one was passed over"
        for bucket, limit in self.limits.items():
            assert sum(1 for item in self.active.values() if bucket in {one.bucket for one in item.holds}) <= limit

    async def create(self, number: int, buckets: tuple[str, ...], most: int) -> None:
        run_id, self.now = f"R{number:03}", self.now + 1
        item = starting(run_id, self.now, *(Limit(name, self.limits[name]) for name in buckets))
        self.waiting[run_id] = item
        await self.transact(Commit(now=self.now, put=(item,)), most=most)

    async def end(self, pick: int) -> None:
        if self.active:
            run_id = sorted(self.active)[pick % len(self.active)]
            del self.active[run_id]
            self.claimed.pop(run_id, None)
            run = Run(run_id=run_id, function_id="f", app_id="a", status=RunStatus.COMPLETED)
            await self.transact(Commit(now=self.now, run=run, drop=True))

    async def work(self, pick: int, again: bool) -> None:
        """A call has been answered: the run sleeps, or its first call is tried again."""
        if self.claimed:
            run_id = sorted(self.claimed)[pick % len(self.claimed)]
            item = self.claimed.pop(run_id)
            put = (starting(run_id, self.now, *item.holds),) if again else ()
            await self.transact(Commit(now=self.now, done=(ItemRef(run_id, item.key, item.claim),), put=put))

    async def rescue(self) -> None:
        await self.store.rescue(10**9)
        self.claimed.clear()

    async def reopen(self) -> None:
        await self.store.close()
        await self.store.open()

    async def finish(self) -> None:
        """Whoever waits still gets their turn."""
        while self.waiting or self.active:
            count = len(self.active)
            await self.transact()
            await self.end(0)
            assert count or self.active or not self.waiting, f"nobody can start: {sorted(self.waiting)}"


actions = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.sampled_from([("x",), ("x", "y"), ("y",), ()]), st.integers(0, 3)),
        st.tuples(st.just("end"), st.integers(0, 9)),
        st.tuples(st.just("work"), st.integers(0, 9), st.booleans()),
        st.tuples(st.sampled_from(["rescue", "reopen"])),
    ),
    max_size=40,
)


@KINDS
@settings(max_examples=40, deadline=None)
@given(actions=actions, x=st.integers(1, 3), y=st.integers(1, 2))
def test_runs_never_hold_more_than_the_limit(kind: str, actions: list[tuple[object, ...]], x: int, y: int) -> None:
    async def play(store: Store) -> None:
        runs = Runs(store, {"x": x, "y": y})
        for number, (name, *values) in enumerate(actions):
            await getattr(runs, str(name))(*((number, *values) if name == "create" else values))
        await runs.finish()

    with_store(kind, play)


@KINDS
@settings(max_examples=30, deadline=None)
@given(
    limit=st.integers(1, 20),
    period=st.sampled_from([100, 1_000]),
    burst=st.integers(0, 3),
    gaps=st.lists(st.integers(0, 120), min_size=1, max_size=25),
    reopened=st.booleans(),
)
def test_throttled_runs_start_in_order_and_never_too_fast(
    kind: str, limit: int, period: int, burst: int, gaps: list[int], reopened: bool
) -> None:
    pace = Pace("throttle:f:", limit, period, burst)

    async def play(store: Store) -> list[tuple[int, str]]:
        started: list[tuple[int, str]] = []
        now, wake = 1_000, None
        for number, gap in enumerate(gaps):
            now += gap
            item = starting(f"R{number:03}", now, throttle=(pace,))
            found = await store.transact([Commit(now=now, put=(item,))], ClaimRequest("me", 100, now))
            started += [(now, item.run_id) for item in found.claimed]
            wake = found.next_due
        while wake is not None:
            if reopened:
                await store.close()
                await store.open()
            now = max(now, wake)
            found = await store.transact([], ClaimRequest("me", 100, now))
            started += [(now, item.run_id) for item in found.claimed]
            wake = found.next_due
        return started

    started = with_store(kind, play)
    assert [run_id for _, run_id in started] == [f"R{number:03}" for number in range(len(gaps))]
    interval = period / limit
    for first, (begin, _) in enumerate(started):
        for last, (end, _) in enumerate(started[first:], first):
            assert last - first + 1 <= burst + 1 + (end - begin + SLACK_MS) / interval
