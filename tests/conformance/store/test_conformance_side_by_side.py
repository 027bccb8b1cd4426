"""Memory and SQLite driven side by side with whatever Hypothesis thinks of: every answer must be the same."""

import os
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from msgspec.structs import replace

from stepwell.core.model import Breaker, Item, ItemRef, Limit, Pace, RunKey, RunStatus, StoredEvent
from stepwell.core.outputs import Commit, Observed
from stepwell.server.store.base import ClaimRequest, EventQuery, RunQuery, Store, Transacted
from stepwell.server.store.postgres import PostgresStore
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.testing.platform.postgres import clean_database
from stepwell.testing.platform.store_conformance import a_run, a_step, an_event, an_item, ref
from tests.conformance.store.pair import Pair

_RUNS = ("R1", "R2", "R3")
_OWNERS = ("anna", "ben")
_KEYS = ("a", "b", "c", "d")

runs = st.sampled_from(_RUNS)
owners = st.sampled_from(_OWNERS)
limits = st.lists(st.builds(Limit, st.sampled_from(["x", "y y", "z"]), st.integers(1, 3)), max_size=2).map(tuple)
held = st.lists(st.builds(Limit, st.sampled_from(["run:x", "run:y"]), st.integers(1, 2)), max_size=2).map(tuple)
soon = st.integers(-9, 6)
_BREAKER = Breaker(0.5, 20, 2, 8)
_PACES = (
    Pace("x", 100, 1_000, 1),
    Pace("fast", 1_000, 1_000),
    Pace("h", slows=True),
    Pace("h", 200, 1_000, 0, True, _BREAKER),
    Pace("g", breaker=_BREAKER),
)
paces = st.just(()) | st.lists(st.sampled_from(_PACES), max_size=2, unique_by=lambda pace: pace.bucket).map(tuple)
ends = st.none() | st.none() | st.integers(0, 15)


class SideBySide(Pair):
    """Two stores, one history. Claims are remembered when they have ended too, so that stale ones are tried."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = self.loop.run(self.made())
        self.loop.run(self.disk.open())
        self.now = 100
        self.versions: dict[str, int] = {}
        self.claims: list[ItemRef] = [ItemRef("R1", "a", 0)]
        self.batch: list[Commit] = []

    async def made(self) -> Store:
        return SQLiteStore(Path(self.folder.name) / "stepwell.db")

    def ended(self, data: st.DataObject) -> tuple[ItemRef, ...]:
        """Mostly claims that are held, else any that ever was."""
        entries = self.memory._entries()  # pyright: ignore[reportPrivateUsage]
        held = [ref(entry.item) for entry in entries if entry.owner is not None]
        known = self.claims[-12:] if not held or data.draw(st.integers(0, 7)) == 0 else held
        return tuple(data.draw(st.lists(st.sampled_from(known), max_size=2, unique=True)))

    def items(self, data: st.DataObject, run_id: str) -> tuple[Item, ...]:
        def build(
            key: str,
            delay: int,
            at: tuple[Limit, ...],
            pace: tuple[Pace, ...],
            end: int | None,
            holds: tuple[Limit, ...],
        ) -> Item:
            item = an_item(key, self.now + delay, *at, run_id=run_id)
            if key == "a":  # a run's first call
                item = replace(item, holds=holds)
            return replace(item, paces=pace, expires_at=None if end is None else self.now + end)

        made = st.builds(build, st.sampled_from(_KEYS), soon, limits, paces, ends, held)
        return tuple(data.draw(st.lists(made, max_size=4)))

    def observed(self, data: st.DataObject) -> tuple[Observed, ...]:
        """Mostly nothing."""
        if data.draw(st.integers(0, 3)):
            return ()
        pace = data.draw(st.sampled_from(_PACES[2:]))
        wait = data.draw(st.none() | st.integers(0, 20)) if pace.slows else None
        return (Observed(pace, self.now - data.draw(st.integers(0, 9)), data.draw(st.booleans()), wait),)

    @rule(data=st.data(), run_id=runs, drop=st.booleans(), luck=st.integers(0, 9))
    def transition(self, data: st.DataObject, run_id: str, drop: bool, luck: int) -> None:
        stale, key = luck == 9, "kl"[luck % 2] if luck in (7, 8) else None
        version = self.versions.get(run_id)
        number = 0 if version is None else version + 1
        event: StoredEvent = an_event(f"E-{run_id}", b"%d" % number)
        commit = Commit(
            now=self.now,
            run=a_run(run_id, number, data.draw(st.sampled_from(RunStatus))),
            expected=7 if stale else version,
            events=(event,),
            steps=(a_step(run_id, number, number),),
            key=None if key is None else RunKey("fn", key, self.now + 4),
            done=self.ended(data),
            put=self.items(data, run_id),
            touch=tuple(data.draw(st.lists(st.tuples(st.sampled_from(_KEYS), st.integers(1, 9)), max_size=2))),
            drop=drop,
        )
        self.batch.append(commit)
        if data.draw(st.booleans()):
            self.send(data.draw(owners), data.draw(st.integers(0, 5)))
        elif not stale:
            self.versions[run_id] = number  # hoped for; set right when the batch is sent

    @rule(data=st.data(), run_id=runs)
    def report(self, data: st.DataObject, run_id: str) -> None:
        commit = Commit(now=self.now, done=self.ended(data), put=self.items(data, run_id), observed=self.observed(data))
        self.batch.append(commit)

    @rule(owner=owners, limit=st.integers(0, 6))
    def send(self, owner: str, limit: int) -> None:
        request = ClaimRequest(owner, limit, self.now)
        result = self.transact(request)
        self.batch = []
        self.claims.extend(ref(item) for item in result.claimed)
        found = self.both(lambda store: store.load_runs(_RUNS))
        self.versions = {view.run.run_id: view.run.version for view in found}

    def transact(self, request: ClaimRequest) -> Transacted:
        """The same but for ``next_due``, which may be early: never so early that it is now, never late."""

        async def ask() -> tuple[Transacted, Transacted]:
            return await self.memory.transact(self.batch, request), await self.disk.transact(self.batch, request)

        expected, found = self.loop.run(ask())
        assert (found.outcomes, found.claimed) == (expected.outcomes, expected.claimed)
        assert found.next_due is None or found.next_due > self.now
        if len(found.claimed) < request.limit and expected.next_due is not None:
            assert found.next_due is not None
            assert found.next_due <= expected.next_due
        return found

    @rule(data=st.data(), owner=owners)
    def work(self, data: st.DataObject, owner: str) -> None:
        """End claims, each with a new item, and take what comes free."""
        for held in self.ended(data):
            keep = (held,) if data.draw(st.booleans()) else ()
            self.batch.append(Commit(now=self.now, done=(held,), keep=keep, put=self.items(data, held.run_id)))
        self.send(owner, 3)

    @rule(data=st.data(), body=st.binary(min_size=1, max_size=9))
    def arrive(self, data: st.DataObject, body: bytes) -> None:
        """A body of one piece, for claims that are held and such that have ended."""
        for claim in self.ended(data):
            self.both(lambda store, claim=claim: store.append_body(claim, 0, body))

    @rule(ms=st.integers(1, 6) | st.sampled_from([12, 40]))
    def wait(self, ms: int) -> None:
        self.now += ms

    @rule(owner=owners, lease=st.integers(1, 12))
    def heartbeat(self, owner: str, lease: int) -> None:
        self.both(lambda store: store.heartbeat(owner, self.now + lease))

    @rule()
    def rescue(self) -> None:
        self.both(lambda store: store.rescue(self.now))

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        refs = self.ended(data)
        self.both(lambda store: store.release(refs))

    @rule()
    def reopen(self) -> None:
        """All that was known about claims is read back. Claim numbers may jump then, which is undone here."""

        async def restart() -> None:
            for store in (self.memory, self.disk):
                await store.close()
                await store.open()

        self.loop.run(restart())
        self.no_jump()

    def no_jump(self) -> None:
        jump = self.disk._write._held[0]._ledger  # pyright: ignore[reportPrivateUsage]
        jump.claim = self.memory._claim  # pyright: ignore[reportPrivateUsage]

    @invariant()
    def same_queue(self) -> None:
        for run_id in _RUNS:
            self.both(lambda store, run_id=run_id: store.list_items(run_id))
        self.both(lambda store: store.counts())
        self.both(lambda store: store.list_runs(RunQuery(status="running")))
        self.both(lambda store: store.list_runs(RunQuery(app_id="app", after="R1")))
        self.both(lambda store: store.list_events(EventQuery()))
        self.both(lambda store: store.waits("R1", self.now))

    @invariant()
    def same_bodies(self) -> None:
        for claim in self.claims[-12:]:
            self.both(lambda store, claim=claim: store.load_body(claim.body))

    @invariant()
    def slots_add_up(self) -> None:
        used, arriving, holds = self.loop.run(self.slots())
        assert +self.memory._used == used  # pyright: ignore[reportPrivateUsage]
        assert {claim.body for claim in self.memory._arriving} == arriving  # pyright: ignore[reportPrivateUsage]
        assert self.memory._holds == holds  # pyright: ignore[reportPrivateUsage]

    async def slots(self) -> tuple[dict[str, int], set[str], dict[str, set[str]]]:
        ledger = self.disk._write._held[0]._ledger  # pyright: ignore[reportPrivateUsage]
        return ledger.used, {claim.body for claim in ledger.arriving}, ledger.holds


class PostgresSideBySide(SideBySide):
    """The same with PostgreSQL. What it knows of slots is in its tables, and nowhere else."""

    async def made(self) -> Store:
        url = await clean_database()
        return PostgresStore(url, listen_url=url)  # as behind a proxy

    def no_jump(self) -> None:
        """Leases outlive a process here; those of the memory store have gone."""

        async def forget() -> None:
            for owner in ("anna", "ben"):
                await self.disk.heartbeat(owner, 0)

        self.loop.run(forget())

    @invariant()
    def same_queue(self) -> None:
        for run_id in _RUNS:
            self.both(lambda store, run_id=run_id: store.list_items(run_id))
        self.both(lambda store: store.waits("R1", self.now))

    @invariant()
    def same_bodies(self) -> None:
        self.both(lambda store: store.load_body(self.claims[-1].body))

    async def slots(self) -> tuple[dict[str, int], set[str], dict[str, set[str]]]:
        async with self.disk._pool.transaction() as conn:  # pyright: ignore[reportPrivateUsage]
            used = dict(await conn.fetch("SELECT bucket, used FROM stepwell.buckets"))
            arriving = {ref for (ref,) in await conn.fetch("SELECT ref FROM stepwell.arriving")}
            holds: dict[str, set[str]] = {}
            for run_id, bucket in await conn.fetch("SELECT run_id, bucket FROM stepwell.holds"):
                holds.setdefault(run_id, set()).add(bucket)
        return used, arriving, holds


TestSideBySide = SideBySide.TestCase
TestSideBySide.settings = settings(
    max_examples=80 if os.environ.get("CI") == "true" else 30,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

TestPostgresSideBySide = PostgresSideBySide.TestCase
TestPostgresSideBySide.settings = settings(
    max_examples=6, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
