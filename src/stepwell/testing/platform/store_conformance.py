"""What every store must do. Subclass :class:`StoreConformance` with a fixture ``store`` that yields an opened one."""

from dataclasses import dataclass

from stepwell.core.model import (
    Item,
    ItemRef,
    Limit,
    Run,
    RunKey,
    RunStatus,
    Step,
    StepStatus,
    StoredEvent,
    WorkKind,
)
from stepwell.core.outputs import Commit
from stepwell.server.store.base import AppRecord, ClaimRequest, Counts, Outcome, RunQuery, Store, Transacted
from stepwell.testing.platform.admission_conformance import AdmissionConformance
from stepwell.testing.platform.body_conformance import BodyConformance
from stepwell.testing.platform.cancellation_conformance import CancellationConformance
from stepwell.testing.platform.held_conformance import HeldConformance
from stepwell.testing.platform.hold_conformance import HoldConformance
from stepwell.testing.platform.lists_conformance import ListsConformance
from stepwell.testing.platform.pace_conformance import PaceConformance
from stepwell.testing.platform.pause_conformance import PauseConformance
from stepwell.testing.platform.prune_conformance import PruneConformance
from stepwell.testing.platform.waits_conformance import WaitsConformance
from stepwell.testing.platform.worker_conformance import LeaderConformance, WorkerConformance

OK, CONFLICT, DUPLICATE = Outcome.APPLIED, Outcome.CONFLICT, Outcome.DUPLICATE


def a_run(run_id: str = "R1", version: int = 0, status: RunStatus = RunStatus.QUEUED, **more: str) -> Run:
    """A run header of little content, triggered by the event ``E-<run id>``."""
    function_id = more.get("function_id", "fn")
    event_id = more.get("event_id", f"E-{run_id}")
    return Run(
        run_id=run_id, function_id=function_id, app_id="app", version=version, status=status, event_ids=(event_id,)
    )


def a_step(run_id: str, number: int, position: int | None = None) -> Step:
    """A step of a run, ended when it has a position."""
    status = StepStatus.PLANNED if position is None else StepStatus.COMPLETED
    memo = None if position is None else b'{"data":%d}' % number
    return Step(
        run_id=run_id,
        step_id=f"s{number}",
        name="s",
        op="Step",
        status=status,
        number=number,
        position=position,
        memo=memo,
    )


def an_item(key: str, due_at: int = 0, *buckets: Limit, run_id: str = "R1", rescues: int = 0) -> Item:
    """A work item."""
    return Item(
        run_id=run_id, key=key, kind=WorkKind.FETCH, due_at=due_at, limits=buckets, payload=b"p", rescues=rescues
    )


def an_event(internal_id: str, body: bytes = b"{}") -> StoredEvent:
    """An event."""
    return StoredEvent(internal_id=internal_id, event_id="id", name="n", received_at=1, body=body)


def ref(item: Item) -> ItemRef:
    """The claim with which an item was handed out."""
    return ItemRef(item.run_id, item.key, item.claim)


def keys(items: list[Item]) -> list[str]:
    """The keys of items, in order."""
    return [item.key for item in items]


@dataclass
class Hand:
    """One owner at a store: short forms of its verbs."""

    store: Store
    owner: str = "me"

    async def put(self, *items: Item, now: int = 0) -> None:
        """Store items."""
        assert (await self.store.transact([Commit(now=now, put=items)])).outcomes == [OK]

    async def claim(self, limit: int = 100, now: int = 0) -> list[Item]:
        """Claim items."""
        return (await self.store.transact([], ClaimRequest(self.owner, limit, now))).claimed

    async def finish(self, *items: Item, now: int = 0, limit: int = 100) -> Transacted:
        """End claims, each in a commit of its own, and claim more."""
        commits = [Commit(now=now, done=(ref(item),)) for item in items]
        return await self.store.transact(commits, ClaimRequest(self.owner, limit, now))


class _State:
    async def test_new_run_reads_back(self, store: Store) -> None:
        """Header, events in the order of the header, steps by number, stack by position."""
        run = Run(
            run_id="R1", function_id="fn", app_id="app", event_ids=("E2", "E1"), error="no", retry_at=7, output=b"1"
        )
        steps = (a_step("R1", 2), a_step("R1", 0, 1), a_step("R1", 1, 0))
        events = (an_event("E1", b'{"n":1}'), an_event("E2", b'{"n":2}'))
        result = await store.transact([Commit(now=1, run=run, events=events, steps=steps)])
        assert result == Transacted([OK], [], None)
        (view,) = await store.load_runs(["missing", "R1", "R1"])
        assert view.run == run
        assert view.events == [b'{"n":2}', b'{"n":1}']
        assert list(view.steps) == ["s0", "s1", "s2"]
        assert view.stack == ["s1", "s0"]
        assert view.memos == {"s1": b'{"data":1}', "s0": b'{"data":0}'}
        assert await store.get_event("E1") == events[0]
        assert await store.get_event("E9") is None

    async def test_versions_fence(self, store: Store) -> None:
        """A header is written by who knows its version; what belongs to a refused commit is not written."""
        first = await store.transact([Commit(now=1, run=a_run()), Commit(now=1, run=a_run())])
        assert first.outcomes == [OK, CONFLICT]
        stale = Commit(now=1, run=a_run(version=9), expected=5, steps=(a_step("R1", 0),), put=(an_item("a"),))
        lost = Commit(now=1, run=a_run("R2", 1), expected=0)
        assert (await store.transact([stale, lost])).outcomes == [CONFLICT, CONFLICT]
        (view,) = await store.load_runs(["R1", "R2"])
        assert (view.run.version, view.steps) == (0, {})
        assert await store.list_items("R1") == []

    async def test_commits_of_one_batch_build_on_each_other(self, store: Store) -> None:
        """Versions chain within a batch; a conflict in the middle stops nobody else."""
        chain = [
            Commit(now=1, run=a_run(version=n), expected=n - 1 if n else None, steps=(a_step("R1", n, n),))
            for n in range(300)
        ]
        chain.insert(150, Commit(now=1, run=a_run(version=99), expected=42, steps=(a_step("R1", 999, 999),)))
        outcomes = (await store.transact(chain)).outcomes
        assert outcomes.pop(150) is CONFLICT
        assert set(outcomes) == {OK}
        (view,) = await store.load_runs(["R1"])
        assert view.run.version == 299
        assert view.stack == [f"s{n}" for n in range(300)]

    async def test_keys_refuse_duplicates_until_they_expire(self, store: Store) -> None:
        """The same key twice in a batch, later, and after its end; another function's key is another key."""

        def start(run_id: str, now: int, function_id: str = "fn") -> Commit:
            return Commit(now=now, run=a_run(run_id), key=RunKey(function_id, "k", now + 10))

        result = await store.transact([start("R1", 0), start("R2", 0), start("R3", 0, "other")])
        assert result.outcomes == [OK, DUPLICATE, OK]
        assert (await store.transact([start("R4", 9)])).outcomes == [DUPLICATE]
        assert (await store.transact([start("R5", 10), start("R6", 10)])).outcomes == [OK, DUPLICATE]
        assert [run.run_id for run in await store.list_runs(RunQuery())] == ["R5", "R3", "R1"]

    async def test_an_event_is_stored_once(self, store: Store) -> None:
        """The first body of an internal id stays."""
        await store.transact(
            [Commit(now=1, events=(an_event("E", b"1"),)), Commit(now=1, events=(an_event("E", b"2"),))]
        )
        await store.transact([Commit(now=1, events=(an_event("E", b"3"),))])
        found = await store.get_event("E")
        assert found == an_event("E", b"1")

    async def test_runs_are_listed_newest_first(self, store: Store) -> None:
        """All conditions together, page after page."""
        ended = RunStatus.COMPLETED
        await store.transact(
            [
                Commit(
                    now=1,
                    run=a_run(
                        f"R{n}", status=ended if n % 2 else RunStatus.QUEUED, function_id=f"f{n % 3}", event_id="E"
                    ),
                )
                for n in range(9)
            ]
        )

        async def ids(query: RunQuery) -> list[str]:
            return [run.run_id for run in await store.list_runs(query)]

        assert await ids(RunQuery(limit=4)) == ["R8", "R7", "R6", "R5"]
        assert await ids(RunQuery(limit=4, before="R5")) == ["R4", "R3", "R2", "R1"]
        assert await ids(RunQuery(status="completed", before="R6")) == ["R5", "R3", "R1"]
        assert await ids(RunQuery(function_id="f1")) == ["R7", "R4", "R1"]
        assert await ids(RunQuery(function_id="f1", status="queued")) == ["R4"]
        assert await ids(RunQuery(event_id="E", function_id="f2", status="completed", limit=1)) == ["R5"]
        assert await ids(RunQuery(event_id="E", before="R2")) == ["R1", "R0"]
        assert await ids(RunQuery(event_id="other")) == []
        assert (await store.counts()).runs == {"queued": 5, "completed": 4}

    async def test_apps_are_replaced(self, store: Store) -> None:
        """By id, in order."""
        old = AppRecord(app_id="b", url="u", sdk="s", checksum="c", functions=b"[]", synced_at=1)
        new = AppRecord(app_id="b", url="v", sdk="s", checksum="c", functions=b"[1]", synced_at=2, error="gone")
        first = AppRecord(app_id="a", url="u", sdk="s", checksum="c", functions=b"[]", synced_at=1)
        for app in (old, first, new):
            await store.save_app(app)
        assert await store.load_apps() == [first, new]


class _Queue:
    async def test_oldest_first_and_only_when_due(self, store: Store) -> None:
        """By due time, then in the order of their puts; what is put and due is claimed at once."""
        hand = Hand(store)
        await hand.put(an_item("late", 30), an_item("b", 10), an_item("a", 10), an_item("first", 5))
        result = await store.transact(
            [Commit(now=20, put=(an_item("c", 10), an_item("soon", 21)))], ClaimRequest("me", 4, 20)
        )
        assert keys(result.claimed) == ["first", "b", "a", "c"]
        assert result.next_due == 21
        assert len({item.claim for item in result.claimed}) == 4
        assert (await store.transact([], ClaimRequest("me", 0, 25))).next_due == 30
        assert keys(await hand.claim(now=30)) == ["soon", "late"]
        assert (await store.transact([], ClaimRequest("me", 9, 31))).next_due is None

    async def test_a_claim_is_done_once(self, store: Store) -> None:
        """By its holder; not by others, nor twice, nor after the item came anew."""
        hand = Hand(store)
        await hand.put(an_item("a"))
        assert (await store.transact([Commit(now=0, done=(ItemRef("R1", "a", 0),))])).outcomes == [CONFLICT]
        (item,) = await hand.claim()
        wrong = ItemRef("R1", "a", item.claim + 1)
        both = Commit(now=0, done=(ref(item), wrong), put=(an_item("x"),))
        assert (await store.transact([both])).outcomes == [CONFLICT]
        done = Commit(now=0, done=(ref(item),))
        assert (await store.transact([done, done])).outcomes == [OK, CONFLICT]
        await hand.put(an_item("a"))
        (again,) = await hand.claim()
        assert again.claim > item.claim
        assert (await store.transact([done])).outcomes == [CONFLICT]
        assert (await hand.finish(again)).outcomes == [OK]
        assert await store.list_items("R1") == []

    async def test_a_put_takes_the_item_from_its_owner(self, store: Store) -> None:
        """The claim number stays and counts on; slots are freed; attempts and rescues are those put."""
        hand, one = Hand(store), Limit("b", 1)
        await hand.put(an_item("a", 0, one), an_item("b", 1, one))
        (item,) = await hand.claim(now=5)
        await hand.put(an_item("a", 9, rescues=3))
        late = await hand.finish(item, now=5)
        assert (late.outcomes, keys(late.claimed), late.next_due) == ([CONFLICT], ["b"], 9)
        stored = (await store.list_items("R1"))[1]
        assert (stored.key, stored.claim, stored.rescues) == ("a", item.claim, 3)
        (again,) = await hand.claim(now=9)
        assert again.claim > item.claim

    async def test_one_limit(self, store: Store) -> None:
        """Never more than the limit; who waits goes on in order as slots are freed; nobody else is held up."""
        hand, two = Hand(store), Limit("b", 2)
        await hand.put(*(an_item(f"k{n}", n, two) for n in range(6)), an_item("free", 9))
        first = await hand.claim(now=10)
        assert keys(first) == ["k0", "k1", "free"]
        assert await hand.claim(now=10) == []
        assert keys((await hand.finish(first[1], first[2], now=10)).claimed) == ["k2"]
        late = Commit(now=10, done=(ref(first[0]),), put=(an_item("newer", 10, two), an_item("older", 1, two)))
        assert keys((await store.transact([late], ClaimRequest("me", 9, 10))).claimed) == ["older"]
        assert await store.counts() == Counts({}, 4, 2)

    async def test_two_limits(self, store: Store) -> None:
        """Each must have room; an item stopped by one bucket may then be stopped by the other."""
        hand = Hand(store)
        both = (Limit("x", 1), Limit("y", 1))
        await hand.put(an_item("x", 0, Limit("x", 1)), an_item("y", 0, Limit("y", 1)), an_item("xy", 0, *both))
        x, y = await hand.claim()
        assert (await hand.finish(x)).claimed == []
        await hand.put(an_item("x2", 1, Limit("x", 1)))
        (x2,) = await hand.claim(now=1)
        assert (await hand.finish(y, now=1)).claimed == []
        assert keys((await hand.finish(x2, now=1)).claimed) == ["xy"]

    async def test_limits_of_one_bucket_may_differ(self, store: Store) -> None:
        """Each item goes by its own number: a wider one passes a narrower one."""
        hand = Hand(store)
        narrow, wide = Limit("b", 1), Limit("b", 3)
        await hand.put(an_item("w0", 0, wide), an_item("n", 1, narrow), *(an_item(f"w{n}", 2, wide) for n in (1, 2, 3)))
        first = await hand.claim(now=5)
        assert keys(first) == ["w0", "w1", "w2"]
        assert keys((await hand.finish(first[0], now=5)).claimed) == ["w3"]

    async def test_release_and_small_claims(self, store: Store) -> None:
        """A released item takes its old place, its slot is free; a claim cut short goes on where it stopped."""
        hand, two = Hand(store), Limit("b", 2)
        await hand.put(*(an_item(f"k{n}", 0, two) for n in range(4)))
        held = await hand.claim()
        await store.release([ref(held[1]), ref(held[0]), ItemRef("R1", "k0", 77), ItemRef("no", "k0", 1)])
        assert keys(await hand.claim(limit=1)) == ["k0"]
        assert keys(await hand.claim(limit=9)) == ["k1"]
        assert (await hand.finish(held[0])).outcomes == [CONFLICT]

    async def test_rescue_frees_what_the_dead_held(self, store: Store) -> None:
        """Owners whose lease ended or who never had one; the living keep theirs; late reports are refused."""
        limit = Limit("b", 3)
        await Hand(store).put(*(an_item(f"k{n}", 0, limit) for n in range(4)))
        await store.heartbeat("alive", 100)
        await store.heartbeat("dying", 50)
        (kept,) = await Hand(store, "alive").claim(limit=1)
        (lost,) = await Hand(store, "dying").claim(limit=1)
        await Hand(store, "unknown").claim(limit=1)
        assert await store.rescue(49) == 1
        assert await store.rescue(50) == 1
        await store.heartbeat("alive", 200)
        assert await store.rescue(199) == 0
        again = await Hand(store, "alive").claim(now=199)
        assert [(item.key, item.rescues) for item in again] == [("k1", 1), ("k2", 1)]
        assert again[0].claim > lost.claim
        assert (await Hand(store).finish(lost)).outcomes == [CONFLICT]
        await store.release([ref(again[0])])
        assert [item.rescues for item in await store.list_items("R1")] == [0, 1, 1, 0]
        assert (await Hand(store).finish(kept)).outcomes == [OK]

    async def test_drop_deletes_all_else_of_the_run(self, store: Store) -> None:
        """Claimed or not, slots freed; items put by the same commit stay, other runs too."""
        hand, one = Hand(store), Limit("b", 1)
        await hand.put(an_item("a", 0, one), an_item("b"), an_item("c", 99), an_item("o", 5, one, run_id="R2"))
        held = await hand.claim()
        dropped = Commit(now=6, run=a_run(), drop=True, done=(ref(held[1]),), put=(an_item("end", 7),))
        result = await store.transact([dropped], ClaimRequest("me", 9, 6))
        assert keys(result.claimed) == ["o"]
        assert keys(await store.list_items("R1")) == ["end"]
        assert (await hand.finish(held[0])).outcomes == [CONFLICT]

    async def test_touch_sets_the_attempt_only(self, store: Store) -> None:
        """Of claimed and waiting items, of one put in the same batch; of a missing one nothing."""
        hand = Hand(store)
        await hand.put(an_item("a"), an_item("b", 9))
        (held,) = await hand.claim()
        touch = Commit(now=0, run=a_run(), touch=(("a", 3), ("b", 4), ("none", 5)))
        more = Commit(now=0, run=a_run(version=1), expected=0, put=(an_item("c", 10),), touch=(("c", 6), ("b", 2)))
        await store.transact([touch, more])
        assert [(item.key, item.attempt) for item in await store.list_items("R1")] == [("a", 3), ("b", 2), ("c", 6)]
        assert [item.attempt for item in await hand.claim(now=10)] == [2, 6]
        assert (await hand.finish(held)).outcomes == [OK]

    async def test_one_batch_is_taken_in_order(self, store: Store) -> None:
        """What an earlier commit did is what a later one finds, and what the claim finds in the end."""
        hand = Hand(store)
        await hand.put(an_item("a"), an_item("b"), an_item("gone"))
        batch = [
            Commit(now=0, run=a_run(), drop=True, put=(an_item("x", 5),), touch=(("x", 8),)),
            Commit(now=0, run=a_run(version=1), expected=0, put=(an_item("a"), an_item("x", 6)), touch=(("b", 9),)),
            Commit(now=0, run=a_run(version=2), expected=1, touch=(("a", 2), ("x", 3))),
            Commit(now=0, run=a_run(version=3), expected=2, put=(an_item("x", 7),)),
        ]
        result = await store.transact(batch, ClaimRequest("me", 9, 0))
        assert [(item.key, item.attempt) for item in result.claimed] == [("a", 2)]
        assert [(item.key, item.attempt) for item in await store.list_items("R1")] == [("a", 2), ("x", 0)]
        touched = Commit(now=0, run=a_run(version=4), expected=3, touch=(("x", 4), ("a", 5)))
        again = Commit(now=0, run=a_run(version=5), expected=4, put=(an_item("x", 1),))
        await store.transact([touched, again])
        assert [(item.key, item.attempt) for item in await store.list_items("R1")] == [("a", 5), ("x", 0)]

    async def test_a_claim_cut_short_forgets_nobody(self, store: Store) -> None:
        """A slot freed in a claim that had no room for who waits for it is given in the next one."""
        hand, one = Hand(store), Limit("b", 1)
        await hand.put(an_item("first", 0, one), an_item("waits", 5, one))
        (first,) = await hand.claim(now=5)
        await hand.put(an_item("older", 1), now=5)
        assert keys((await hand.finish(first, now=5, limit=1)).claimed) == ["older"]
        assert keys(await hand.claim(now=5)) == ["waits"]


class StoreConformance(
    _State,
    _Queue,
    AdmissionConformance,
    BodyConformance,
    PaceConformance,
    HoldConformance,
    ListsConformance,
    WaitsConformance,
    WorkerConformance,
    LeaderConformance,
    PruneConformance,
    CancellationConformance,
    PauseConformance,
    HeldConformance,
):
    """All tests of a store's verbs; the fixture ``store`` yields an opened, empty store."""
