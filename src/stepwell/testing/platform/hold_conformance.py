"""What every store must do about slots that a run holds from its start to its end. A part of ``store_conformance``."""

from msgspec.structs import replace

from stepwell.core.model import Item, ItemRef, Limit, Pace, Reason, Run, RunStatus, WorkKind
from stepwell.core.outputs import Commit
from stepwell.server.store.base import ClaimRequest, Store, Transacted

_ONE = Limit("run:f:", 1)


def a_start(run_id: str, *holds: Limit, due_at: int = 0) -> Item:
    """A run's first call, which takes these slots."""
    return Item(run_id=run_id, key="step", kind=WorkKind.CALL, due_at=due_at, holds=holds)


def _put(*items: Item) -> Commit:
    return Commit(now=0, put=items)


def _done(item: Item, *then: Item) -> Commit:
    """The item has been worked on, and its run goes on with others."""
    return Commit(now=0, done=(ItemRef(item.run_id, item.key, item.claim),), put=then)


def _end(run_id: str) -> Commit:
    """The run is created and over at once: nothing of it remains."""
    run = Run(run_id=run_id, function_id="f", app_id="a", status=RunStatus.CANCELLED)
    return Commit(now=0, run=run, drop=True)


async def _claim(store: Store, *commits: Commit, now: int = 0, limit: int = 100) -> Transacted:
    return await store.transact(commits, ClaimRequest("me", limit, now))


def _runs(found: Transacted) -> list[str]:
    return [item.run_id for item in found.claimed]


class HoldConformance:
    """Taken with the claim, freed with the run, kept over everything between."""

    async def test_a_run_keeps_its_slot_until_it_ends(self, store: Store) -> None:
        """Also while nothing of it is claimed; then the next one starts, in order."""
        starts = [a_start(f"R{n}", _ONE, due_at=n) for n in range(3)]
        (first,) = (await _claim(store, _put(*starts), now=5)).claimed
        timer = Item(run_id="R0", key="sleep", kind=WorkKind.TIMER, due_at=9_000)
        assert _runs(await _claim(store, _done(first, timer), now=5)) == []
        assert _runs(await _claim(store, _end("R0"), now=5)) == ["R1"]
        assert _runs(await _claim(store, _end("R1"), now=5)) == ["R2"]

    async def test_it_outlives_the_process(self, store: Store) -> None:
        """The slot is on the disk, and freed after a reopening as before it."""
        (first,) = (await _claim(store, _put(a_start("R0", _ONE), a_start("R1", _ONE)))).claimed
        await _claim(store, _done(first))
        await store.close()
        await store.open()
        assert _runs(await _claim(store)) == []
        assert _runs(await _claim(store, _end("R0"))) == ["R1"]

    async def test_who_holds_passes_again(self, store: Store) -> None:
        """A start that was rescued, given back or put again waits for no second slot, and frees none."""
        await _claim(store, _put(a_start("R0", _ONE), a_start("R1", _ONE)))
        assert await store.rescue(10**9) == 1
        (again,) = (await _claim(store)).claimed
        assert (again.run_id, again.rescues) == ("R0", 1)
        await store.release([ItemRef(again.run_id, again.key, again.claim)])
        (third,) = (await _claim(store)).claimed
        assert third.run_id == "R0"
        (fourth,) = (await _claim(store, _done(third, a_start("R0", _ONE)))).claimed
        assert fourth.run_id == "R0"
        assert _runs(await _claim(store, _done(fourth))) == []

    async def test_two_slots_and_others(self, store: Store) -> None:
        """All must have room, beside the limits and paces of the item; nothing is taken by halves."""
        wide, shut = Limit("run:f:k", 2), Pace("throttle:f:", 1, 60_000)
        starts = [a_start("R0", wide), a_start("R1", wide, _ONE), a_start("R2", _ONE)]
        assert _runs(await _claim(store, _put(*starts))) == ["R0", "R1"]
        busy = replace(a_start("R3"), limits=(_ONE,), paces=(shut,))
        assert _runs(await _claim(store, _put(busy, a_start("R4", wide)))) == []
        assert _runs(await _claim(store, _end("R0"))) == ["R4"]
        assert _runs(await _claim(store, _end("R1"))) == ["R2"]
        assert _runs(await _claim(store, _end("R2"))) == ["R3"]

    async def test_the_end_of_a_run_before_its_start_frees_nothing(self, store: Store) -> None:
        """It held nothing yet."""
        await _claim(store, _put(a_start("R0", _ONE), a_start("R1", _ONE), a_start("R2", _ONE)))
        assert _runs(await _claim(store, _end("R1"))) == []
        assert _runs(await _claim(store, _end("R0"))) == ["R2"]

    async def test_what_waits_says_so(self, store: Store) -> None:
        """As for any limit; nothing once the run has its slot."""
        await _claim(store, _put(a_start("R0", _ONE), a_start("R1", _ONE)))
        shut = (await store.waits("R1", 0))["step"]
        assert (shut.by, shut.reason, shut.until) == (_ONE, Reason.CONCURRENCY, None)
        await store.rescue(10**9)
        assert await store.waits("R0", 0) == {}
