"""Several stores on one PostgreSQL, at the same time: nothing is taken twice, no limit is passed, nothing is lost."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from stepwell.core.model import Item, ItemRef, Limit, Pace, RunKey, Wait
from stepwell.core.outputs import Commit, RateLimited, Single
from stepwell.server.store.base import ClaimRequest, Outcome
from stepwell.server.store.postgres import PostgresStore
from stepwell.testing.platform.postgres import clean_database
from stepwell.testing.platform.store_conformance import a_run, an_item, ref
from stepwell.testing.platform.waits_conformance import a_signal, a_wait

PROCESSES = 3


@pytest.fixture
async def stores() -> AsyncIterator[list[PostgresStore]]:
    url = await clean_database()
    stores = [PostgresStore(url, size=3) for _ in range(PROCESSES)]
    for store in stores:
        await store.open()
    yield stores
    for store in stores:
        await store.close()


async def work_all(stores: list[PostgresStore], total: int, seen: "Seen", limit: int = 5, step: int = 1) -> None:
    """Each store claims, and ends what it claimed, until all items are done."""

    async def one(store: PostgresStore, name: str) -> None:
        held: list[Item] = []
        while seen.ended < total:
            commits = [Commit(now=seen.now, done=(ref(item),)) for item in held]
            seen.end(held)
            result = await store.transact(commits, ClaimRequest(name, limit, seen.now))
            assert all(outcome is Outcome.APPLIED for outcome in result.outcomes)
            held = result.claimed
            seen.begin(held)
            seen.now += step

    await asyncio.wait_for(asyncio.gather(*(one(store, f"p{n}") for n, store in enumerate(stores))), 45)


class Seen:
    """What is under way, counted as an upstream would: from the claim's return to the call that ends it."""

    def __init__(self, **limits: int) -> None:
        self.limits = limits
        self.active: Counter[str] = Counter()
        self.begun: Counter[tuple[str, str]] = Counter()
        self.times: list[int] = []
        self.ended = 0
        self.now = 1_000

    def begin(self, items: list[Item]) -> None:
        for item in items:
            self.begun[item.run_id, item.key] += 1
            self.times.append(self.now)
            self.active.update(limit.bucket for limit in item.limits)
        assert all(self.active[name] <= limit for name, limit in self.limits.items()), self.active

    def end(self, items: list[Item]) -> None:
        self.ended += len(items)
        for item in items:
            self.active.subtract(limit.bucket for limit in item.limits)


async def test_every_item_is_claimed_once(stores: list[PostgresStore]) -> None:
    items = [an_item(f"k{n}", n % 7, run_id=f"R{n % 20}") for n in range(300)]
    await stores[0].transact([Commit(now=1, put=(item,)) for item in items])
    seen = Seen()
    await work_all(stores, 300, seen, limit=17)
    assert seen.begun == Counter({(item.run_id, item.key): 1 for item in items})
    assert (await stores[1].counts()).queued == 0


async def test_limits_hold_over_all_processes(stores: list[PostgresStore]) -> None:
    a, b = Limit("a", 3), Limit("b", 2)
    kinds = [(a,), (b,), (a, b), ()]
    items = [an_item(f"k{n}", n % 3, *kinds[n % 4], run_id=f"R{n}") for n in range(120)]
    await stores[0].transact([Commit(now=1, put=(item,)) for item in items])
    seen = Seen(a=3, b=2)
    await work_all(stores, 120, seen)
    assert set(seen.begun.values()) == {1}
    assert max(seen.active.values(), default=0) == 0


async def test_runs_hold_their_slot_over_all_processes(stores: list[PostgresStore]) -> None:
    slot = (Limit("runs", 2),)
    items = [replace(an_item("step", n, run_id=f"R{n:02}"), holds=slot) for n in range(16)]
    await stores[0].transact([Commit(now=1, put=(item,)) for item in items])
    active: set[str] = set()
    started: list[str] = []

    async def one(store: PostgresStore, name: str) -> None:
        while len(started) < 16 or active:
            result = await store.transact([], ClaimRequest(name, 4, 1_000))
            for item in result.claimed:
                active.add(item.run_id)
                started.append(item.run_id)
            assert len(active) <= 2
            for item in result.claimed:
                active.discard(item.run_id)
                await store.transact([Commit(now=1_000, run=a_run(item.run_id), drop=True)])

    await asyncio.wait_for(asyncio.gather(*(one(store, f"p{n}") for n, store in enumerate(stores))), 45)
    assert sorted(started) == [item.run_id for item in items]


async def test_a_pace_holds_over_all_processes(stores: list[PostgresStore]) -> None:
    pace = Pace("host", limit=10, period_ms=1_000)
    items = [replace(an_item(f"k{n}", 0, run_id=f"R{n}"), paces=(pace,)) for n in range(25)]
    await stores[0].transact([Commit(now=1, put=(item,)) for item in items])
    seen = Seen()
    await work_all(stores, 25, seen, step=20)
    first = seen.times[0]
    assert all(count <= (time - first) / 100 + 2 for count, time in enumerate(sorted(seen.times), 1))


async def test_one_of_many_gets_the_key_the_version_the_wait_and_the_signal(stores: list[PostgresStore]) -> None:
    await stores[0].transact([Commit(now=1, run=a_run("R0"), waits=(a_wait("R0", "n", "s"),))])

    def commits(n: int) -> list[Commit]:
        return [
            Commit(now=2, key=RunKey("fn", "k", 99), run=a_run(f"new{n}")),
            Commit(now=2, run=a_run("R0", version=1), expected=0),
            Commit(now=2, take=(("R0", "s"),)),
            Commit(now=2, waits=(a_signal(f"W{n}", "go"),)),
        ]

    results = await asyncio.gather(*(stores[n % PROCESSES].transact(commits(n)) for n in range(12)))
    for place in range(4):
        outcomes = [result.outcomes[place] for result in results]
        assert outcomes.count(Outcome.APPLIED) == 1, (place, outcomes)
    found = await stores[0].find_signal("go")
    assert isinstance(found, Wait)


async def test_admissions_are_decided_one_after_the_other(stores: list[PostgresStore]) -> None:
    def commits(n: int) -> list[Commit]:
        limited = Commit(now=5, run=a_run(f"L{n}"), admit=(RateLimited("rate", 5, 60_000),))
        single = Commit(now=5, run=a_run(f"S{n}"), admit=(Single("one", f"S{n}", cancels=False),))
        return [limited, single]

    results = await asyncio.gather(*(stores[n % PROCESSES].transact(commits(n)) for n in range(15)))
    passed = [[result.outcomes[place] for result in results].count(Outcome.APPLIED) for place in (0, 1)]
    assert passed == [5, 1]


async def test_who_is_rescued_reports_too_late_and_its_slots_are_free(stores: list[PostgresStore]) -> None:
    slow, quick, _ = stores
    await slow.transact([Commit(now=1, put=(an_item("a", 0, Limit("x", 1)),))])
    (held,) = (await slow.transact([], ClaimRequest("slow", 5, 1))).claimed
    assert (await quick.transact([], ClaimRequest("quick", 5, 1))).claimed == []
    rescued = await asyncio.gather(*(store.rescue(10) for store in stores))
    assert sum(rescued) == 1
    (again,) = (await quick.transact([], ClaimRequest("quick", 5, 10))).claimed
    assert again.claim > held.claim
    late = await slow.transact([Commit(now=11, done=(ref(held),))])
    assert late.outcomes == [Outcome.CONFLICT]


async def test_ends_and_drops_meet_claims_without_losing_a_slot(stores: list[PostgresStore]) -> None:
    """Runs are dropped while others claim their items: every slot comes back."""
    one = Limit("x", 4)
    first, second, third = stores
    for turn in range(12):
        items = tuple(an_item(f"k{n}", 0, one, run_id=f"T{turn}") for n in range(6))
        await first.transact([Commit(now=1, run=a_run(f"T{turn}"), put=items)])
        dropping = Commit(now=1, run=a_run(f"T{turn}", version=1), expected=0, drop=True)
        await asyncio.gather(
            second.transact([], ClaimRequest("b", 3, 1)),
            first.transact([dropping]),
            third.transact([], ClaimRequest("c", 3, 1)),
        )
    counts = await first.counts()
    assert (counts.queued, counts.claimed) == (0, 0)
    await first.transact([Commit(now=1, put=tuple(an_item(f"z{n}", 0, one, run_id="Z") for n in range(9)))])
    assert len((await second.transact([], ClaimRequest("b", 9, 1))).claimed) == 4


async def test_releases_meet_claims_and_ends(stores: list[PostgresStore]) -> None:
    items = tuple(an_item(f"k{n}", 0, Limit("x", 2), run_id="R") for n in range(8))
    await stores[0].transact([Commit(now=1, put=items)])
    seen = Seen(x=2)

    async def one(store: PostgresStore, name: str) -> None:
        for _ in range(12):
            result = await store.transact([], ClaimRequest(name, 2, 1))
            seen.begin(result.claimed)
            seen.end(result.claimed)
            await store.release([ItemRef(item.run_id, item.key, item.claim) for item in result.claimed])

    await asyncio.wait_for(asyncio.gather(*(one(store, f"p{n}") for n, store in enumerate(stores))), 45)
    assert (await stores[0].counts()).claimed == 0
    assert len((await stores[1].transact([], ClaimRequest("x", 9, 2))).claimed) == 2
