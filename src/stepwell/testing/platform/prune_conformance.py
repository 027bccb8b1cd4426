"""What every store must do about what is old. Part of the suite in ``store_conformance``."""

from collections.abc import AsyncIterator, Sequence

from msgspec.structs import replace

from stepwell.core.cancellations import begin, place
from stepwell.core.invokes import resume
from stepwell.core.model import (
    Body,
    Cancellation,
    Item,
    ItemRef,
    Run,
    RunKey,
    RunStatus,
    Step,
    StepStatus,
    StoredEvent,
    WorkKind,
)
from stepwell.core.outputs import Commit
from stepwell.core.runs import KEY_LIFETIME_MS
from stepwell.server.store.base import PIECE_BYTES, ClaimRequest, EventQuery, Old, Outcome, Prune, RunQuery, Store
from stepwell.wire.ids import ulid

NOW = 1_700_000_000_000
DAY = 24 * 3600 * 1000
OLD, YOUNG = NOW - 9 * DAY, NOW - DAY
BEFORE = NOW - 7 * DAY


def name(number: int, at: int = OLD) -> str:
    """An id of that time."""
    return ulid(at + number, number.to_bytes(10, "big"))


def ended(number: int, **more: object) -> Run:
    """A run of its own event that ended long ago."""
    values: dict[str, object] = {
        "status": RunStatus.COMPLETED,
        "event_ids": (name(900 + number),),
        "queued_at": OLD,
        "ended_at": OLD + 1_000,
        **more,
    }
    return Run(run_id=name(number), function_id="fn", app_id="app", **values)  # pyright: ignore[reportArgumentType]


def event(internal_id: str, at: int = OLD) -> StoredEvent:
    """An event."""
    return StoredEvent(internal_id=internal_id, event_id=internal_id, name="n", received_at=at, body=b"{}")


def a_cancellation(number: int, at: int = OLD, started_before: int = OLD) -> Cancellation:
    """One of many runs, that was asked for at that time."""
    return Cancellation(
        cancellation_id=name(number, at),
        created_at=at,
        app_id="app",
        function_id="fn",
        started_before=started_before,
        condition="event.data.x == 1",
    )


def a_step(run_id: str) -> Step:
    """A step that has a result."""
    return Step(
        run_id=run_id, step_id="s", name="s", op="Step", status=StepStatus.COMPLETED, number=0, position=0, memo=b"1"
    )


async def put(store: Store, *runs: Run) -> None:
    """Store runs with their events, a step and a body each."""
    commits = [
        Commit(
            now=run.queued_at,
            run=run,
            events=tuple(event(one) for one in run.event_ids),
            steps=(a_step(run.run_id),),
            bodies=(Body(ref=f"{run.run_id}.b", run_id=run.run_id, data=b"body"),),
        )
        for run in runs
    ]
    assert set((await store.transact(commits)).outcomes) == {Outcome.APPLIED}


async def put_large(store: Store, run: Run, pieces: int = 20) -> str:
    """Store a run with a body that arrived piece by piece: its name."""
    await put(store, replace(run, status=RunStatus.RUNNING, ended_at=None))
    await store.transact([Commit(now=NOW, put=(Item(run_id=run.run_id, key="f", kind=WorkKind.FETCH, due_at=0),))])
    (item,) = (await store.transact([], ClaimRequest("me", 1, NOW))).claimed
    claim = ItemRef(run.run_id, "f", item.claim)
    for number in range(pieces):
        last = number + 1 == pieces
        assert await store.append_body(claim, number * PIECE_BYTES, b"x" * PIECE_BYTES, last=last)
    over = Commit(now=NOW, run=replace(run, version=1), expected=0, done=(claim,), keep=(claim,))
    assert (await store.transact([over])).outcomes == [Outcome.APPLIED]
    return claim.body


async def looks(store: Store, what: Old, before: int, limit: int, dry: bool) -> AsyncIterator[int]:
    """Look at everything, batch by batch: how many each deleted."""
    found = await store.prune(Prune(what, before, None, limit, dry))
    yield found.count
    while found.last is not None:
        found = await store.prune(Prune(what, before, found.last, limit, dry))
        yield found.count


async def prune(store: Store, what: Old, before: int = BEFORE, limit: int = 100, *, dry: bool = False) -> int:
    """How many went in one pass."""
    return sum([count async for count in looks(store, what, before, limit, dry)])


async def there(store: Store) -> list[str]:
    """The ids of the runs, oldest first."""
    return [run.run_id for run in reversed(await store.list_runs(RunQuery(limit=1_000)))]


def ids(runs: Sequence[Run]) -> list[str]:
    """Their ids."""
    return [run.run_id for run in runs]


class PruneConformance:
    """What is old goes, unless something points at it."""

    async def test_runs_that_ended_long_ago_go_with_all_they_have(self, store: Store) -> None:
        """Not those that go on, nor those that ended since, however long ago they began."""
        gone = [ended(1), ended(2, status=RunStatus.FAILED), ended(3, status=RunStatus.CANCELLED)]
        gone.append(ended(4, status=RunStatus.SKIPPED))
        kept = [ended(5, status=RunStatus.RUNNING, ended_at=None), ended(6, ended_at=BEFORE)]
        kept.append(Run(run_id=name(7, YOUNG), function_id="fn", app_id="app", ended_at=YOUNG))
        await put(store, *gone, *kept)
        assert await prune(store, Old.RUNS, dry=True) == 4
        assert await there(store) == ids([*gone, *kept])
        assert await prune(store, Old.RUNS) == 4
        assert await there(store) == ids(kept)
        assert await store.load_runs(ids(gone)) == []
        for run in gone:
            assert await store.load_body(f"{run.run_id}.b") is None
        (view,) = await store.load_runs([kept[1].run_id])
        assert list(view.steps) == ["s"]
        assert await store.load_body(f"{kept[1].run_id}.b") == b"body"
        assert await prune(store, Old.RUNS) == 0

    async def test_every_batch_is_small_and_the_next_one_goes_on(self, store: Store) -> None:
        """Also past runs that are kept."""
        runs = [ended(n, ended_at=NOW if n % 3 == 0 else OLD) for n in range(20)]
        await put(store, *runs)
        counts = [count async for count in looks(store, Old.RUNS, BEFORE, 3, dry=False)]
        assert max(counts) <= 3
        assert sum(counts) == 13
        assert await there(store) == ids([run for run in runs if run.ended_at == NOW])

    async def test_what_a_repetition_points_at_stays_as_long_as_that(self, store: Store) -> None:
        """A chain goes whole, or stays down to its beginning."""
        first = ended(1)
        again = replace(ended(2), original=first.run_id, event_ids=first.event_ids)
        third = replace(ended(3), original=again.run_id, event_ids=first.event_ids, ended_at=NOW)
        await put(store, first, again, third)
        assert await prune(store, Old.RUNS) == 0
        assert await store.load_body(f"{first.run_id}.b") == b"body"
        await store.transact([Commit(now=NOW, run=replace(third, version=1, ended_at=OLD), expected=0)])
        assert await prune(store, Old.RUNS) == 3

    async def test_a_run_that_somebody_waits_for_stays(self, store: Store) -> None:
        """Until who invoked it has ended. One of a batch may have several who do."""
        starter = ended(1, status=RunStatus.RUNNING, ended_at=None)
        child = ended(2, parent=f"{starter.run_id}.s")
        member = ended(3, parent=f"{name(80)}.s", parents=(f"{starter.run_id}.t",))
        await put(store, starter, child, member)
        assert await prune(store, Old.RUNS) == 0
        await store.transact([Commit(now=NOW, run=replace(starter, version=1, ended_at=OLD + 1), expected=0)])
        over = replace(starter, version=2, status=RunStatus.COMPLETED, ended_at=OLD)
        await store.transact([Commit(now=NOW, run=over, expected=1)])
        assert await prune(store, Old.RUNS) == 3

    async def test_a_run_with_a_letter_stays_until_that_was_read(self, store: Store) -> None:
        """Whoever claims it finds the run, and throws it away."""
        run = ended(1)
        await put(store, run)
        letter = Item(run_id=run.run_id, key="s", kind=WorkKind.RESUME, due_at=NOW)
        await store.transact([Commit(now=NOW, put=(letter,))])
        assert await prune(store, Old.RUNS) == 0
        (item,) = (await store.transact([], ClaimRequest("me", 1, NOW))).claimed
        await store.transact([Commit(now=NOW, done=(ItemRef(run.run_id, "s", item.claim),))])
        assert await prune(store, Old.RUNS) == 1

    async def test_a_letter_to_a_run_that_is_gone_is_work_like_any_other(self, store: Store) -> None:
        """Who invoked a run had ended, and went; its child ends only now."""
        starter = ended(1)
        child = ended(2, status=RunStatus.RUNNING, ended_at=None, parent=f"{starter.run_id}.s")
        await put(store, starter, child)
        assert await prune(store, Old.RUNS) == 1
        over = replace(child, version=1, status=RunStatus.COMPLETED, ended_at=OLD)
        letter = resume(f"{starter.run_id}.s", b"1", NOW)
        found = await store.transact([Commit(now=NOW, run=over, expected=0, more=(letter,))])
        assert found.outcomes == [Outcome.APPLIED]
        assert await prune(store, Old.RUNS) == 1, "nobody waits for it"
        (item,) = (await store.transact([], ClaimRequest("me", 1, NOW))).claimed
        assert (item.run_id, item.key, item.payload) == (starter.run_id, "s", b"1")
        await store.transact([Commit(now=NOW, done=(ItemRef(item.run_id, item.key, item.claim),))])
        assert await store.list_items(starter.run_id) == []
        assert await there(store) == []

    async def test_large_bodies_go(self, store: Store) -> None:
        """However many pieces there are."""
        ref = await put_large(store, ended(1))
        assert await store.load_body(ref, 3, 5) == b"xx"
        assert await prune(store, Old.RUNS) == 1
        assert await store.load_body(ref) is None
        await store.close()
        await store.open()
        assert await store.load_body(ref) is None

    async def test_events_go_when_no_run_is_theirs(self, store: Store) -> None:
        """Those that started none, those whose runs are gone, and not those that are on their way to who waits."""
        goes, stays = ended(1), ended(2, ended_at=NOW)
        await put(store, goes, stays)
        joined, alone, flying, young = name(50), name(51), name(52), name(53, YOUNG)
        events = (*map(event, (joined, alone, flying)), event(young, YOUNG))
        delivery = Item(run_id=f"event:{flying}", key="deliver", kind=WorkKind.DELIVER, due_at=NOW)
        links = ((joined, stays.run_id), (alone, goes.run_id))
        await store.transact([Commit(now=OLD, events=events, links=links, put=(delivery,))])
        assert await prune(store, Old.EVENTS, limit=1) == 0
        assert await prune(store, Old.RUNS) == 1
        assert await prune(store, Old.EVENTS, limit=1, dry=True) == 2
        assert await prune(store, Old.EVENTS, limit=1) == 2
        left = [found.internal_id for found in await store.list_events(EventQuery())]
        assert sorted(left) == sorted([stays.event_ids[0], joined, flying, young])
        assert [run.run_id for run in await store.list_runs(RunQuery(event_id=joined))] == [stays.run_id]
        assert await store.list_runs(RunQuery(event_id=alone)) == []

    async def test_keys_go_when_they_hold_no_longer(self, store: Store) -> None:
        """By the run that they name; where that is gone, by the time that was promised."""
        going = ended(1, status=RunStatus.RUNNING, ended_at=None)
        just, long_ago = ended(2, ended_at=NOW - KEY_LIFETIME_MS + 1), ended(3)
        await put(store, going, just, long_ago)
        keys = [
            RunKey("fn", "of one that goes on", OLD, going.run_id),
            RunKey("fn", "of one that has just ended", OLD, just.run_id),
            RunKey("fn", "of one that ended", OLD, long_ago.run_id),
            RunKey("fn", "of none", OLD),
            RunKey("fn", "of none, for some time", NOW + 1),
            RunKey("fn", "of one that is gone, for some time", NOW + 1, name(70)),
        ]
        await store.transact([Commit(now=OLD, keys=tuple(keys))])
        assert await prune(store, Old.KEYS, NOW, limit=2, dry=True) == 2
        assert await prune(store, Old.KEYS, NOW, limit=2) == 2
        tried = [replace(key, run_id="another", expires_at=NOW + 9) for key in keys]
        outcomes = (await store.transact([Commit(now=NOW, key=key) for key in tried])).outcomes
        held = [key.key for key, outcome in zip(keys, outcomes, strict=True) if outcome is Outcome.DUPLICATE]
        assert held == [keys[0].key, keys[1].key, keys[4].key, keys[5].key]

    async def test_cancellations_of_many_runs_go_when_they_mean_none(self, store: Store) -> None:
        """Those that are old, as are the runs that they may mean, and whose work is done."""
        done = [a_cancellation(n) for n in range(3)]
        works, later, young = a_cancellation(4), a_cancellation(5, started_before=BEFORE), a_cancellation(6, YOUNG)
        await store.transact([Commit(now=OLD, cancellations=(*done, later, young)), begin(works)])
        assert await prune(store, Old.CANCELLATIONS, limit=2, dry=True) == 3
        assert len(await store.cancellations()) == 6
        assert await prune(store, Old.CANCELLATIONS, limit=2) == 3
        await store.close()
        await store.open()
        assert await store.cancellations() == [young, later, works]
        (item,) = (await store.transact([], ClaimRequest("me", 1, NOW))).claimed
        assert await prune(store, Old.CANCELLATIONS) == 0
        await store.transact([Commit(now=NOW, done=(ItemRef(place(works), item.key, item.claim),))])
        assert await prune(store, Old.CANCELLATIONS) == 1
        assert await store.cancellations() == [young, later]

    async def test_a_repetition_needs_the_run_that_it_repeats(self, store: Store) -> None:
        """Also when that is stored by the same transaction; without it nothing is stored."""
        old, again = ended(1), ended(2, original=name(1))
        lost = await store.transact([Commit(now=NOW, run=again, needs=old.run_id)])
        assert lost.outcomes == [Outcome.CONFLICT]
        assert await there(store) == []
        both = await store.transact([Commit(now=NOW, run=old), Commit(now=NOW, run=again, needs=old.run_id)])
        assert both.outcomes == [Outcome.APPLIED] * 2
