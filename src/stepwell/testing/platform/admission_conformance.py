"""What every store must do about what is decided when an event comes in (``Commit.admit``). A part of ``store_conformance``.

The law of each admission is that of the pure function ``core.flow.admission.admit``, which has tests of its own. Here it is
asked with what is stored, and what it says is written: within a transaction, from one to the next, and nowhere else.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from stepwell.core.flow.admission import MAX_BATCH_BYTES, START, gathered_of
from stepwell.core.model import Item, Run, RunKey, RunStatus, WorkKind
from stepwell.core.outputs import Admission, Batched, Commit, Debounced, Joining, RateLimited, Release, Single
from stepwell.server.store.base import ClaimRequest, Outcome, RunQuery, Store, Transacted

OK, CONFLICT, DUPLICATE, REFUSED = Outcome.APPLIED, Outcome.CONFLICT, Outcome.DUPLICATE, Outcome.REFUSED
_DAY_MS = 24 * 3600 * 1000
_FAR = 2**40


def a_beginning(run_id: str, *admit: Admission, now: int = 0) -> Commit:
    """A run that starts when all of it lets it pass."""
    return Commit(now=now, run=Run(run_id=run_id, function_id="f", app_id="a"), admit=admit)


def a_rate(limit: int = 2, bucket: str = "rate", instead: Commit | None = None) -> RateLimited:
    """So many in a second."""
    return RateLimited(bucket, limit, 1_000, instead)


def a_single(run_id: str, *, cancels: bool = False, bucket: str = "one", instead: Commit | None = None) -> Single:
    """The bucket for the run."""
    return Single(bucket, run_id, cancels, instead)


def an_event_for(run_id: str, event_id: str, ts: int = 0, size: int = 10, parent: str | None = None) -> Joining:
    """An event that begins ``run_id`` where none waits."""
    run = Run(run_id=run_id, function_id="f", app_id="a", event_ids=(event_id,), gathering=True)
    return Joining(run, event_id, RunKey("f", event_id, _FAR, run_id), ts, size, parent)


def a_calm(join: Joining, now: int = 0, timeout_ms: int | None = None) -> Commit:
    """A debounce of a second."""
    return Commit(now=now, key=join.key, admit=(Debounced("calm", join, 1_000, timeout_ms),))


def a_batch(join: Joining, now: int = 0, size: int = 3) -> Commit:
    """A batch of so many, that waits for a second."""
    return Commit(now=now, key=join.key, admit=(Batched("batch", join, size, 1_000),))


async def _outcomes(store: Store, *commits: Commit) -> list[Outcome]:
    return (await store.transact(commits)).outcomes


async def _claim(store: Store, now: int) -> list[Item]:
    return (await store.transact([], ClaimRequest("me", 100, now))).claimed


async def _runs(store: Store, status: str | None = None, event_id: str | None = None) -> list[str]:
    found = await store.list_runs(RunQuery(status=status, event_id=event_id))
    return [run.run_id for run in reversed(found)]


async def _gathered(store: Store, run_id: str) -> tuple[int, tuple[str, ...]]:
    """When the run begins, and with which events."""
    (item,) = await store.list_items(run_id)
    assert (item.key, item.kind) == (START, WorkKind.START)
    return item.due_at, gathered_of(item).events


class _Passing:
    async def test_a_rate_limit_counts_what_has_passed(self, store: Store) -> None:
        """In a batch and later; what it refuses writes nothing and uses nothing up; another bucket is another limit."""
        first = [a_beginning(f"R{n}", a_rate()) for n in range(3)]
        assert await _outcomes(store, *first, a_beginning("R3", a_rate(bucket="other"))) == [OK, OK, REFUSED, OK]
        assert await _outcomes(store, a_beginning("R4", a_rate(), now=499)) == [REFUSED]
        assert await _outcomes(store, a_beginning("R5", a_rate(), now=500)) == [OK]
        assert await _outcomes(store, a_beginning("R6", a_rate(), now=500)) == [REFUSED]
        assert await _outcomes(store, *(a_beginning(f"S{n}", a_rate(), now=9_000) for n in range(3))) == [
            OK,
            OK,
            REFUSED,
        ]
        assert await _runs(store) == ["R0", "R1", "R3", "R5", "S0", "S1"]

    async def test_what_is_refused_may_say_what_is_written(self, store: Store) -> None:
        """``instead`` is a commit like any other: with checks of its own."""
        told = Commit(now=0, more=(a_beginning("told"), a_beginning("told"), a_beginning("also")))
        limited = a_beginning("R1", a_rate(1, instead=told))
        assert await _outcomes(store, a_beginning("R0", a_rate(1)), limited) == [OK, REFUSED]
        assert await _runs(store) == ["R0", "also", "told"]

    async def test_the_checks_of_a_commit_come_first(self, store: Store) -> None:
        """An event that had its run, and a run that is there, count for no limit."""
        key = RunKey("f", "E", _FAR)
        once = [replace(a_beginning(f"R{n}", a_rate()), key=key) for n in range(2)]
        assert await _outcomes(store, *once, a_beginning("R0", a_rate())) == [OK, DUPLICATE, CONFLICT]
        assert await _outcomes(store, a_beginning("R3", a_rate()), a_beginning("R4", a_rate())) == [OK, REFUSED]

    async def test_an_event_id_is_held_by_its_run(self, store: Store) -> None:
        """Until a day after that has ended; whatever time the key says."""
        key = RunKey("f", "E", 1, "R0")

        def again(now: int) -> Commit:
            return Commit(now=now, key=RunKey("f", "E", _FAR), run=Run(run_id=f"R{now}", function_id="f", app_id="a"))

        ended = Run(run_id="R0", function_id="f", app_id="a", version=1, status=RunStatus.COMPLETED, ended_at=100)
        assert await _outcomes(store, replace(a_beginning("R0"), key=key), again(50)) == [OK, DUPLICATE]
        assert await _outcomes(store, Commit(now=100, run=ended, expected=0)) == [OK]
        assert await _outcomes(store, again(99 + _DAY_MS), again(100 + _DAY_MS)) == [DUPLICATE, OK]

    async def test_admissions_are_asked_in_order(self, store: Store) -> None:
        """Up to the first that refuses: those before it have counted, those after it know of nothing."""
        both = (a_rate(1), a_single("R1"))
        assert await _outcomes(store, a_beginning("R0", a_rate(1)), a_beginning("R1", *both)) == [OK, REFUSED]
        assert await _outcomes(store, a_beginning("R2", a_single("R2"))) == [OK]
        assert await _outcomes(store, a_beginning("R3", a_rate(1, "x"), a_single("R3"))) == [REFUSED]
        assert await _outcomes(store, a_beginning("R4", a_rate(1, "x"))) == [REFUSED]


class _Singletons:
    async def test_a_bucket_is_for_one_run_until_it_gives_it_back(self, store: Store) -> None:
        """Others are refused, and can not give it back; there may be something instead of them."""
        skipped = Commit(now=0, run=Run(run_id="R2", function_id="f", app_id="a", status=RunStatus.SKIPPED))
        first, second = a_beginning("R1", a_single("R1")), a_beginning("R2", a_single("R2", instead=skipped))
        assert await _outcomes(store, first, second, a_beginning("R3", a_single("R3"))) == [OK, REFUSED, REFUSED]
        assert await _runs(store, status="skipped") == ["R2"]
        assert await _outcomes(store, Commit(now=_FAR, admit=(Release("one", "R9"),))) == [OK]
        assert await _outcomes(store, a_beginning("R4", a_single("R4"), now=_FAR)) == [REFUSED]
        assert await _outcomes(store, Commit(now=1, admit=(Release("one", "R1"),))) == [OK]
        after = [a_beginning("R5", a_single("R5")), a_beginning("R6", a_single("R6"))]
        assert await _outcomes(store, *after, a_beginning("R7", a_single("R7", bucket="two"))) == [OK, REFUSED, OK]

    async def test_a_run_may_take_the_place_of_another(self, store: Store) -> None:
        """That one gets an item that cancels it, and no longer has the bucket to give back."""
        cancelling = [a_beginning(f"R{n}", a_single(f"R{n}", cancels=True), now=n) for n in range(3)]
        assert await _outcomes(store, *cancelling) == [OK, OK, OK]
        assert [(item.run_id, item.kind) for item in await _claim(store, 9)] == [
            ("R0", WorkKind.CANCEL),
            ("R1", WorkKind.CANCEL),
        ]
        assert await _outcomes(store, Commit(now=9, admit=(Release("one", "R0"),))) == [OK]
        assert await _outcomes(store, a_beginning("R9", a_single("R9"))) == [REFUSED]


class _Debounces:
    async def test_the_newest_event_waits_for_a_pause(self, store: Store) -> None:
        """One run, of which the first event has made the header; older events belong to it, and change nothing."""
        waiting = [
            a_calm(an_event_for("R1", "A", ts=5)),
            a_calm(an_event_for("R2", "B", ts=9), now=400),
            a_calm(an_event_for("R3", "C", ts=8), now=700),
        ]
        assert await _outcomes(store, *waiting[:1]) == [OK]
        assert await _gathered(store, "R1") == (1_000, ("A",))
        assert await _outcomes(store, *waiting[1:]) == [OK, OK]
        assert await _gathered(store, "R1") == (1_400, ("B",))
        assert await _runs(store) == ["R1"]
        assert [await _runs(store, event_id=event) for event in "ABC"] == [["R1"], ["R1"], ["R1"]]
        assert await _outcomes(store, a_calm(an_event_for("R4", "C"), now=800)) == [DUPLICATE]
        assert [item.run_id for item in await _claim(store, 1_399)] == []
        assert [item.run_id for item in await _claim(store, 1_400)] == ["R1"]

    async def test_a_run_that_is_due_takes_no_more_events(self, store: Store) -> None:
        """Whether it has been claimed or not."""
        await _outcomes(store, a_calm(an_event_for("R1", "A")), a_calm(an_event_for("R2", "B"), now=1_000))
        assert await _gathered(store, "R1") == (1_000, ("A",))
        assert await _gathered(store, "R2") == (2_000, ("B",))

    async def test_a_time_out_ends_the_waiting(self, store: Store) -> None:
        """Counted from the first event."""
        events = [a_calm(an_event_for(f"R{n}", f"E{n}", ts=n), now=n * 600, timeout_ms=1_500) for n in range(4)]
        assert await _outcomes(store, *events) == [OK] * 4
        assert await _gathered(store, "R0") == (1_500, ("E2",))
        assert await _gathered(store, "R3") == (2_800, ("E3",))

    async def test_a_step_that_invoked_a_superseded_event_learns_of_it(self, store: Store) -> None:
        """And the one whose event waits does when the run gives the bucket back with a memo."""
        first, second = an_event_for("R1", "A", parent="P.a"), an_event_for("R2", "B", parent="Q.b")
        await _outcomes(store, a_calm(first), a_calm(second, now=1))
        (told,) = await store.list_items("P")
        assert (told.key, told.kind) == ("a", WorkKind.RESUME)
        assert b"InvokedFunctionSuperseded" in (told.payload or b"")
        await _outcomes(store, Commit(now=2, admit=(Release("calm", "R1", b"null"),)))
        (told,) = await store.list_items("Q")
        assert (told.key, told.payload) == ("b", b"null")
        assert await _outcomes(store, a_calm(an_event_for("R3", "C"), now=3)) == [OK]
        assert await _gathered(store, "R3") == (1_003, ("C",))


class _Batches:
    async def test_a_batch_begins_when_it_is_full(self, store: Store) -> None:
        """At once; each event in one run, in the order in which they came; the next one begins another."""
        events = [a_batch(an_event_for(f"R{n}", f"E{n}"), now=n) for n in range(7)]
        assert await _outcomes(store, *events[:2]) == [OK, OK]
        assert await _gathered(store, "R0") == (1_000, ("E0", "E1"))
        result = await store.transact(events[2:], ClaimRequest("me", 9, 6))
        assert _started(result) == [("R0", ("E0", "E1", "E2")), ("R3", ("E3", "E4", "E5"))]
        assert await _gathered(store, "R6") == (1_006, ("E6",))
        assert await _runs(store) == ["R0", "R3", "R6"]
        assert [await _runs(store, event_id=f"E{n}") for n in (2, 4, 6)] == [["R0"], ["R3"], ["R6"]]

    async def test_a_batch_that_waited_long_enough_begins(self, store: Store) -> None:
        """Counted from its first event; what comes then is in the next one."""
        await _outcomes(store, *(a_batch(an_event_for(f"R{n}", f"E{n}"), now=n * 500) for n in range(3)))
        assert _started(await store.transact([], ClaimRequest("me", 9, 1_000))) == [("R0", ("E0", "E1"))]
        assert await _gathered(store, "R2") == (2_000, ("E2",))

    async def test_a_batch_has_an_end_in_bytes(self, store: Store) -> None:
        """It begins when the next event would be too much."""
        half = MAX_BATCH_BYTES // 2
        await _outcomes(store, *(a_batch(an_event_for(f"R{n}", f"E{n}", size=half), now=n) for n in range(3)))
        assert _started(await store.transact([], ClaimRequest("me", 9, 2))) == [("R0", ("E0", "E1"))]
        assert await _gathered(store, "R2") == (1_002, ("E2",))

    async def test_an_event_that_came_twice_is_in_its_batch_once(self, store: Store) -> None:
        """By its id, also where it was not the one that began the run."""
        twice = [a_batch(an_event_for("R1", "A")), *(a_batch(an_event_for(f"R{n}", "B"), now=n) for n in (2, 3))]
        assert await _outcomes(store, *twice) == [OK, OK, DUPLICATE]
        assert await _gathered(store, "R1") == (1_000, ("A", "B"))


def _started(result: Transacted) -> Sequence[tuple[str, tuple[str, ...]]]:
    return [(item.run_id, gathered_of(item).events) for item in result.claimed]


class AdmissionConformance(_Passing, _Singletons, _Debounces, _Batches):
    """Rate limit, event id, singleton, debounce and batch, over the transactions of a store."""
