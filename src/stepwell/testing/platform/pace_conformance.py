"""What every store must do about paces. Part of the suite in ``store_conformance``."""

from msgspec.structs import replace

from stepwell.core.flow.gates import WAKE_MS
from stepwell.core.model import Breaker, Item, ItemRef, Limit, Pace, Passed, Reason
from stepwell.core.model import WorkKind as Kind
from stepwell.core.outputs import Commit, Observed
from stepwell.server.store.base import ClaimRequest, Store, Transacted

_TEN = Pace("host:a", 10, 1_000)
_HOST = Pace("host:a", slows=True)


def a_paced(key: str, *paces: Pace, due_at: int = 0, run_id: str = "R1", limits: tuple[Limit, ...] = ()) -> Item:
    """A work item that has to pass these."""
    return Item(run_id=run_id, key=key, kind=Kind.FETCH, due_at=due_at, limits=limits, paces=paces)


async def _claim(store: Store, now: int, *commits: Commit, limit: int = 100) -> Transacted:
    return await store.transact(commits, ClaimRequest("me", limit, now))


def _keys(found: Transacted) -> list[str]:
    return [item.key for item in found.claimed]


def _put(*items: Item) -> Commit:
    return Commit(now=0, put=items)


def _done(item: Item) -> Commit:
    return Commit(now=0, done=(ItemRef(item.run_id, item.key, item.claim),))


class PaceConformance:
    """Rate, slow-down, breaker, expiry, and what a run waits for."""

    async def test_a_rate_lets_pass_in_order_and_says_when(self, store: Store) -> None:
        """One each 100 ms; others are not held up; nothing is lost."""
        first = await _claim(store, 1_000, _put(*(a_paced(f"k{n}", _TEN) for n in range(4)), a_paced("free")))
        assert _keys(first) == ["k0", "free"]
        passed, now = ["k0"], 1_000
        while len(passed) < 4:
            found = await _claim(store, now)
            passed += _keys(found)
            if len(passed) < 4:
                assert found.next_due is not None
                assert now < found.next_due <= now + 100
                now = found.next_due
        assert passed == ["k0", "k1", "k2", "k3"]
        assert 1_270 <= now <= 1_300

    async def test_a_place_that_is_given_back_is_free_for_the_next(self, store: Store) -> None:
        """What passed did nothing, and says so when it is put again; who waits behind it is not let pass as well."""
        slow = replace(_TEN, bucket="throttle:f:", limit=1, period_ms=86_400_000)
        (first,) = (await _claim(store, 1_000, _put(a_paced("a", slow), a_paced("b", slow, due_at=5)))).claimed
        back = Commit(
            now=1_010,
            done=(ItemRef(first.run_id, first.key, first.claim),),
            put=(replace(first, claim=0),),
            observed=(Observed(slow, 1_005, given_back=True),),
        )
        assert _keys(await _claim(store, 1_010, back)) == ["a"]
        assert _keys(await _claim(store, 2_000)) == []

    async def test_burst_and_a_pace_holds_over_reopening(self, store: Store) -> None:
        """Three at once, then one each 100 ms, whoever opened the store in between."""
        burst = replace(_TEN, burst=2)
        assert len((await _claim(store, 1_000, _put(*(a_paced(f"k{n}", burst) for n in range(6))))).claimed) == 3
        await store.close()
        await store.open()
        assert _keys(await _claim(store, 1_010)) == []
        found = await _claim(store, 1_200)
        assert _keys(found) == ["k3", "k4"]

    async def test_pace_and_concurrency_together(self, store: Store) -> None:
        """Both must be open; what one held back is not lost when the other opens."""
        one = Limit("b", 1)
        items = [a_paced(f"k{n}", _TEN, limits=(one,)) for n in range(4)]
        (held,) = (await _claim(store, 1_000, _put(*items))).claimed
        assert _keys(await _claim(store, 2_000)) == []
        (second,) = (await _claim(store, 2_000, _done(held))).claimed
        assert _keys(await _claim(store, 2_010, _done(second))) == []
        assert _keys(await _claim(store, 2_110)) == ["k2"]

    async def test_a_slow_down_holds_for_everybody(self, store: Store) -> None:
        """Until the host's time; then few; over a reopening."""
        seen = Commit(now=1_000, observed=(Observed(_HOST, 900, wait_ms=5_000),))
        found = await _claim(store, 1_000, seen, _put(*(a_paced(f"k{n}", _HOST) for n in range(9))))
        assert (_keys(found), found.next_due) == ([], 6_000)
        await store.close()
        await store.open()
        assert _keys(await _claim(store, 5_999)) == []
        found = await _claim(store, 6_000)
        assert _keys(found) == ["k0"]
        assert found.next_due is not None
        assert 6_000 < found.next_due <= 6_250
        later = [key for now in range(6_010, 12_000, 10) for key in _keys(await _claim(store, now))]
        assert later == [f"k{n}" for n in range(1, 9)]

    async def test_a_breaker_lets_one_probe_pass(self, store: Store) -> None:
        """And nobody else until its outcome is known."""
        guarded = Pace("host:a", breaker=Breaker(0.5, 1_000, 2, 500))
        bad = Commit(now=1_000, observed=(Observed(guarded, 900, failed=True),) * 2)
        found = await _claim(
            store, 1_000, bad, _put(a_paced("a", guarded), a_paced("b", guarded), a_paced("c", guarded))
        )
        assert (_keys(found), found.next_due) == ([], 1_500)
        assert _keys(await _claim(store, 1_500)) == ["a"]
        assert _keys(await _claim(store, 1_600)) == []
        good = Commit(now=1_700, observed=(Observed(guarded, 1_500),))
        assert _keys(await _claim(store, 1_700, good)) == ["b", "c"]

    async def test_an_item_that_expires_waits_no_longer(self, store: Store) -> None:
        """Behind a pace or a limit, at its time, also after a reopening; it takes nothing from the pace."""
        shut, full = replace(_TEN, limit=1, period_ms=60_000), Limit("b", 1)
        first = await _claim(store, 1_000, _put(a_paced("a", shut), a_paced("b", limits=(full,))))
        assert len(first.claimed) == 2
        paced = replace(a_paced("p", shut), expires_at=2_000)
        limited = replace(a_paced("l", limits=(full,)), expires_at=2_500)
        found = await _claim(store, 1_100, _put(paced, limited))
        assert (_keys(found), found.next_due) == ([], 2_000)
        await store.close()
        await store.open()
        assert _keys(await _claim(store, 1_999)) == []
        found = await _claim(store, 2_000)
        assert (_keys(found), found.next_due) == (["p"], 2_500)
        assert _keys(await _claim(store, 2_500)) == ["l"]

    async def test_what_holds_a_run_back(self, store: Store) -> None:
        """The bucket, why, and until when; nothing about items that are claimed or not yet due."""
        full = Limit("b", 1)
        items = (
            a_paced("a", _TEN, limits=(full,)),
            a_paced("paced", _TEN),
            a_paced("limited", limits=(full,)),
            a_paced("later", _TEN, due_at=9_000),
        )
        await _claim(store, 1_000, _put(*items))
        found = await store.waits("R1", 1_000)
        assert found.keys() == {"paced", "limited"}
        assert (found["paced"].by, found["paced"].reason, found["paced"].until) == (_TEN, Reason.RATE, 1_080)
        assert (found["limited"].by, found["limited"].reason, found["limited"].until) == (
            full,
            Reason.CONCURRENCY,
            None,
        )
        assert await store.waits("R9", 1_000) == {}

    async def test_a_claim_says_what_had_held_the_item_back(self, store: Store) -> None:
        """Each limit and pace, with the reason that ended last; nothing for what was claimed at once."""
        full = Limit("b", 1)
        first = await _claim(store, 1_000, _put(a_paced("a", _TEN, limits=(full,)), a_paced("b", _TEN, limits=(full,))))
        assert [item.passed for item in first.claimed] == [()]
        opened = await _claim(store, 1_010, _done(first.claimed[0]))
        assert opened.claimed == []
        (second,) = (await _claim(store, 1_110)).claimed
        assert second.passed == (Passed("b", Reason.CONCURRENCY), Passed("host:a", Reason.RATE))
        again = replace(second, claim=0, passed=())
        (third,) = (await _claim(store, 2_000, _done(second), _put(again))).claimed
        assert third.passed == ()

    async def test_a_claim_after_a_slow_down_and_one_after_a_breaker_say_so(self, store: Store) -> None:
        """Whoever comes after the probe had waited for the breaker too, not for a host that asked for fewer requests."""
        slow = Commit(now=1_000, observed=(Observed(_HOST, 900, wait_ms=500),))
        await _claim(store, 1_000, slow, _put(a_paced("slow", _HOST)))
        (item,) = (await _claim(store, 1_500)).claimed
        assert item.passed == (Passed("host:a", Reason.SLOW_DOWN),)
        guarded = Pace("host:g", slows=True, breaker=Breaker(0.5, 1_000, 2, 500))
        bad = Commit(now=1_000, observed=(Observed(guarded, 900, failed=True),) * 2)
        await _claim(store, 1_000, bad, _put(*(a_paced(key, guarded) for key in "abc")))
        claimed = (await _claim(store, 1_500)).claimed
        good = Commit(now=1_600, observed=(Observed(guarded, 1_500),))
        claimed += (await _claim(store, 1_600, good)).claimed
        claimed += [item for now in range(1_610, 3_000, 10) for item in (await _claim(store, now)).claimed]
        assert [item.key for item in claimed] == ["a", "b", "c"]
        assert {item.passed for item in claimed} == {(Passed("host:g", Reason.BREAKER),)}

    async def test_one_that_expired_says_what_it_had_waited_for(self, store: Store) -> None:
        """It was held back all the same."""
        shut = replace(_TEN, limit=1, period_ms=60_000)
        await _claim(store, 1_000, _put(a_paced("a", shut), replace(a_paced("p", shut), expires_at=2_000)))
        (item,) = (await _claim(store, 2_000)).claimed
        assert (item.key, item.passed) == ("p", (Passed("host:a", Reason.RATE),))

    async def test_a_fast_pace_comes_in_groups(self, store: Store) -> None:
        """Nobody is woken for each item of a fast pace."""
        fast = Pace("host:a", 1_000, 1_000)
        now, wakes, passed = 1_000, 0, 0
        found = await _claim(store, now, _put(*(a_paced(f"k{n}", fast) for n in range(200))))
        while (passed := passed + len(found.claimed)) < 200:
            assert found.next_due is not None
            assert found.next_due >= now + WAKE_MS
            now, wakes = found.next_due, wakes + 1
            found = await _claim(store, now)
        assert wakes <= 20
