"""What every store must do about waits. Part of the suite in ``store_conformance``."""

from msgspec.structs import replace

from stepwell.core.model import Item, RunKey, Wait, WorkKind
from stepwell.core.outputs import Commit
from stepwell.server.store.base import ClaimRequest, Outcome, Store, WaitQuery

OK, CONFLICT = Outcome.APPLIED, Outcome.CONFLICT


def a_wait(run_id: str, name: str = "paid", step_id: str = "s1", path: str | None = None, value: bytes = b"") -> Wait:
    """A wait for an event."""
    return Wait(run_id=run_id, step_id=step_id, name=name, expression="async.x == 1", path=path, value=value)


def a_signal(run_id: str, signal: str = "go", *, step_id: str = "s1", replaces: bool = False) -> Wait:
    """A wait for a signal."""
    return Wait(run_id=run_id, step_id=step_id, signal=signal, replace=replaces)


def a_delivery(event_id: str = "E1") -> Item:
    """The item that hands out an event."""
    return Item(run_id=f"event:{event_id}", key="deliver", kind=WorkKind.DELIVER, due_at=0)


def a_resume(wait: Wait, payload: bytes = b"p") -> Item:
    """The item that hands its result to a step."""
    return Item(run_id=wait.run_id, key=wait.step_id, kind=WorkKind.RESUME, due_at=0, payload=payload)


def a_taking(wait: Wait, payload: bytes = b"p") -> Commit:
    """The commit by which an event or a signal wakes a step."""
    return Commit(now=0, take=((wait.run_id, wait.step_id),), put=(a_resume(wait, payload),))


async def _found(store: Store, name: str = "paid", *at: tuple[str, bytes], before: Item | None = None) -> list[str]:
    place = None if before is None else (before.run_id, before.key)
    return [wait.run_id for wait in await store.find_waits(WaitQuery(name=name, at=at, before=place))]


class WaitsConformance:
    """Found by name and value, in order; taken once; one waiter for a signal."""

    async def test_waits_are_found_by_name_until_they_are_deleted(self, store: Store) -> None:
        """As they were stored, oldest first; ``more`` counts; what is not there can be deleted."""
        a, b, c = a_wait("R2"), a_wait("R1"), a_wait("R2", "cancelled", "cancel:0")
        await store.transact([Commit(now=1, waits=(a, b)), Commit(now=1, more=(Commit(now=1, waits=(c,)),))])
        found = await store.find_waits(WaitQuery(name="paid"))
        assert [replace(wait, seq=0) for wait in found] == [a, b]
        assert await _found(store, "cancelled") == ["R2"]
        assert await _found(store, "other") == []
        assert await store.waiting_names() == {"paid", "cancelled"}
        await store.transact([Commit(now=2, unwait=(("R2", "s1"), ("R9", "s9")))])
        assert await _found(store) == ["R1"]
        assert await store.waiting_names() == {"paid", "cancelled"}
        await store.transact([Commit(now=2, unwait=(("R1", "s1"),))])
        assert await store.waiting_names() == {"cancelled"}

    async def test_what_concerns_those_who_wait_is_stored_only_while_somebody_does(self, store: Store) -> None:
        """``waited``: stored before, in the same transaction, not any more; after ``key``; signals do not count."""
        about = Commit(now=1, waited="paid", put=(a_delivery(),))
        started = Commit(now=1, waits=(a_wait("R1"),))
        early = await store.transact([about, Commit(now=1, waits=(a_signal("R8", "paid"), a_wait("R9", "other")))])
        assert early.outcomes == [Outcome.REFUSED, OK]
        assert await store.list_items("event:E1") == []
        done = await store.transact([about, started, Commit(now=1, more=(about,))])
        assert done.outcomes == [Outcome.REFUSED, OK, OK]
        assert len(await store.list_items("event:E1")) == 1
        key = RunKey("f", "k", 10**9)
        twice = [Commit(now=1, key=key, waited="paid"), Commit(now=1, key=key, waited="nobody")]
        assert (await store.transact(twice)).outcomes == [OK, Outcome.DUPLICATE]
        await store.transact([Commit(now=2, unwait=(("R1", "s1"),))])
        assert (await store.transact([about])).outcomes == [Outcome.REFUSED]

    async def test_waits_are_found_by_value(self, store: Store) -> None:
        """Those without a path always, the others by one of the pairs that are asked for; never twice."""
        waits = [
            a_wait("R1"),
            a_wait("R2", path="a", value=b"1"),
            a_wait("R3", path="a", value=b"2"),
            a_wait("R4", path="b.c", value=b"1"),
            a_wait("R5", "other", path="d", value=b"1"),
        ]
        await store.transact([Commit(now=1, waits=tuple(waits))])
        assert await _found(store) == ["R1"]
        assert await _found(store, "paid", ("a", b"1")) == ["R1", "R2"]
        assert await _found(store, "paid", ("b.c", b"1"), ("a", b"2")) == ["R1", "R3", "R4"]
        assert await _found(store, "paid", ("a", b"3"), ("d", b"1")) == ["R1"]
        assert {wait.path for wait in await store.waited_places("paid")} == {"a", "b.c"}
        assert len(await store.waited_places("paid")) == 2
        assert await store.waited_places("nobody") == []

    async def test_waits_are_found_in_pages_in_the_order_of_storing(self, store: Store) -> None:
        """``after`` goes on where a page ended, whatever place the waits have; a wait that is replaced is the newest."""
        ids = [f"R{n % 10}{n}" for n in range(30)]
        waits = [a_wait(run_id, path="a" if n % 2 else None, value=b"1") for n, run_id in enumerate(ids)]
        await store.transact([Commit(now=1, waits=tuple(waits))])
        await store.transact([Commit(now=1, waits=(waits[4],))])
        query, found = WaitQuery(name="paid", at=(("a", b"1"),), limit=7), list[str]()
        while page := await store.find_waits(query):
            assert len(page) <= 7
            found += [wait.run_id for wait in page]
            query = replace(query, after=page[-1].seq)
        assert found == [run_id for run_id in ids if run_id != ids[4]] + [ids[4]]

    async def test_an_event_is_for_those_who_waited_when_it_came(self, store: Store) -> None:
        """Also after reopening; an item that is gone is for nobody."""
        event = a_delivery()
        await store.transact([Commit(now=1, waits=(a_wait("R2"),)), Commit(now=1, put=(event,))])
        await store.transact([Commit(now=1, waits=(a_wait("R1"),))])
        assert await _found(store, before=event) == ["R2"]
        await store.close()
        await store.open()
        await store.transact([Commit(now=1, waits=(a_wait("R3"),))])
        assert await _found(store, before=event) == ["R2"]
        later = a_delivery("E2")
        await store.transact([Commit(now=1, put=(later,))])
        assert await _found(store, before=later) == ["R2", "R1", "R3"]
        (claimed, other) = (await store.transact([], ClaimRequest("me", 9, 5))).claimed
        assert (claimed.run_id, other.run_id) == (event.run_id, later.run_id)
        assert await _found(store, before=a_delivery("E9")) == []

    async def test_places_go_on_counting_when_only_waits_are_left(self, store: Store) -> None:
        """An event that comes after reopening is later than every wait that was stored before."""
        await store.transact([Commit(now=1, waits=tuple(a_wait(f"R{n}") for n in range(5)))])
        await store.close()
        await store.open()
        event = a_delivery()
        await store.transact([Commit(now=1, put=(event,))])
        assert await _found(store, before=event) == [f"R{n}" for n in range(5)]

    async def test_a_wait_is_taken_once(self, store: Store) -> None:
        """Of two events that meet it one has it, in one transaction and in two; nothing of the other's is written."""
        a, b = a_wait("R1"), a_wait("R2")
        await store.transact([Commit(now=1, waits=(a, b))])
        outcomes = (await store.transact([a_taking(a, b"1"), a_taking(a, b"2"), a_taking(b, b"3")])).outcomes
        assert outcomes == [OK, CONFLICT, OK]
        assert (await store.transact([a_taking(a, b"4")])).outcomes == [CONFLICT]
        assert [item.payload for item in await store.list_items("R1")] == [b"1"]
        assert [item.payload for item in await store.list_items("R2")] == [b"3"]
        assert await _found(store) == []

    async def test_an_end_and_an_event_do_not_both_have_a_wait(self, store: Store) -> None:
        """A step that gave up waiting is not woken; a wait of the same batch can be taken."""
        a = a_wait("R1")
        await store.transact([Commit(now=1, waits=(a,))])
        given_up = Commit(now=1, unwait=(("R1", "s1"),))
        assert (await store.transact([given_up, a_taking(a)])).outcomes == [OK, CONFLICT]
        assert (await store.transact([Commit(now=1, waits=(a,)), a_taking(a)])).outcomes == [OK, OK]

    async def test_one_step_waits_for_a_signal(self, store: Store) -> None:
        """A second one is refused, in one batch and later; the same step may wait again; it is free when that ends."""
        one, two = a_signal("R1"), a_signal("R2")
        outcomes = (await store.transact([Commit(now=1, waits=(one,)), Commit(now=1, waits=(two,))])).outcomes
        assert outcomes == [OK, CONFLICT]
        assert (await store.transact([Commit(now=1, waits=(two,)), Commit(now=1, waits=(one,))])).outcomes == [
            CONFLICT,
            OK,
        ]
        assert (await store.transact([Commit(now=1, waits=(a_signal("R2", "else"),))])).outcomes == [OK]
        found = await store.find_signal("go")
        assert found is not None
        assert (found.run_id, found.step_id) == ("R1", "s1")
        free = Commit(now=1, unwait=(("R1", "s1"),), more=(Commit(now=1, waits=(a_signal("R3"),)),))
        assert (await store.transact([free])).outcomes == [OK]
        found = await store.find_signal("go")
        assert found is not None
        assert found.run_id == "R3"
        assert (await store.transact([a_taking(a_signal("R3"))])).outcomes == [OK]
        assert await store.find_signal("go") is None
        assert await store.waiting_names() == set()

    async def test_a_signal_is_taken_over(self, store: Store) -> None:
        """Who waited for it before does so no more; also within one batch, and within one commit."""
        one, two, three = a_signal("R1"), a_signal("R2", replaces=True), a_signal("R3", replaces=True)
        await store.transact([Commit(now=1, waits=(one,))])
        assert (await store.transact([Commit(now=1, waits=(two,)), Commit(now=1, waits=(three,))])).outcomes == [OK, OK]
        found = await store.find_signal("go")
        assert found is not None
        assert found.run_id == "R3"
        outcomes = (await store.transact([a_taking(one), a_taking(two), a_taking(three)])).outcomes
        assert outcomes == [CONFLICT, CONFLICT, OK]
        await store.transact([Commit(now=1, waits=(one,))])
        handed_on = Commit(now=1, take=(("R1", "s1"),), waits=(a_signal("R4"),))
        assert (await store.transact([handed_on])).outcomes == [OK]

    async def test_otherwise_takes_the_place_of_what_was_refused(self, store: Store) -> None:
        """The outcome is that of the refused commit, and what it has is not written."""
        one, two = a_signal("R1"), a_signal("R2")
        await store.transact([Commit(now=1, waits=(one,))])
        instead = Commit(now=1, put=(a_resume(two, b"no"),))
        refused = Commit(now=1, waits=(two,), put=(a_resume(two, b"yes"),), otherwise=instead)
        fine = Commit(now=1, waits=(a_signal("R3", "free"),), otherwise=Commit(now=1, put=(a_resume(a_wait("R3")),)))
        assert (await store.transact([refused, fine])).outcomes == [CONFLICT, OK]
        assert [item.payload for item in await store.list_items("R2")] == [b"no"]
        assert await store.list_items("R3") == []
        followed = Commit(now=1, more=(replace(refused, otherwise=Commit(now=1, put=(a_resume(two, b"again"),))),))
        assert (await store.transact([followed])).outcomes == [OK]
        assert [item.payload for item in await store.list_items("R2")] == [b"again"]
