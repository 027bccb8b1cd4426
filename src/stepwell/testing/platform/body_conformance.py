"""What every store must do with bodies: kept whole, or stored piece by piece while they arrive."""

from stepwell.core.model import Body, Item, ItemRef, WorkKind
from stepwell.core.outputs import Commit
from stepwell.server.store.base import PIECE_BYTES, ClaimRequest, Outcome, Store

RANGES = [
    (0, None),
    (0, 7),
    (PIECE_BYTES - 3, PIECE_BYTES + 3),
    (PIECE_BYTES, PIECE_BYTES + 70_000),
    (5, 2 * PIECE_BYTES + 5),
    (2 * PIECE_BYTES, None),
    (2 * PIECE_BYTES + 9, 10 * PIECE_BYTES),
    (2 * PIECE_BYTES + 100, None),
    (9 * PIECE_BYTES, None),
    (PIECE_BYTES + 5, PIECE_BYTES + 2),
]


def a_body(tail: int, seed: int = 0) -> list[bytes]:
    """Two full pieces and a rest of ``tail`` bytes; no two bodies of different seeds are alike anywhere."""
    row = bytes((number * 7 + seed) % 251 for number in range(PIECE_BYTES))
    return [row, row[::-1], row[:tail]]


async def claimed(store: Store, key: str = "a", owner: str = "me", run_id: str = "R1", now: int = 0) -> ItemRef:
    """The claim of a new item."""
    item = Item(run_id=run_id, key=key, kind=WorkKind.FETCH, due_at=now)
    done = await store.transact([Commit(now=now, put=(item,))], ClaimRequest(owner, 1, now))
    (taken,) = done.claimed
    return ItemRef(taken.run_id, taken.key, taken.claim)


async def append(store: Store, claim: ItemRef, *pieces: bytes) -> None:
    """Store a body's pieces."""
    start = 0
    for piece in pieces:
        assert await store.append_body(claim, start, piece)
        start += len(piece)


async def keep(store: Store, claim: ItemRef) -> list[Outcome]:
    """End the claim, its body kept."""
    return (await store.transact([Commit(now=0, done=(claim,), keep=(claim,))])).outcomes


class BodyConformance:
    """Bodies; part of the suite for stores."""

    async def test_bodies_are_read_by_range(self, store: Store) -> None:
        """Python's slices, from 0."""
        await store.transact([Commit(now=1, bodies=(Body("b", "R1", b"0123456789"), Body("e", "R1", b"")))])
        ranges = [(0, None), (3, None), (2, 5), (8, 99), (10, None), (20, 30), (5, 2)]
        found = [await store.load_body("b", *bounds) for bounds in ranges]
        assert found == [b"0123456789", b"3456789", b"234", b"89", b"", b"", b""]
        assert await store.load_body("e") == b""
        assert await store.load_body("none") is None

    async def test_a_body_in_pieces_is_seen_once_it_is_kept(self, store: Store) -> None:
        """Not a byte before that; then as one that came whole, by any range."""
        claim = await claimed(store)
        parts = a_body(100)
        await append(store, claim, *parts)
        assert await store.load_body(claim.body) is None
        assert await keep(store, claim) == [Outcome.APPLIED]
        whole = b"".join(parts)
        for start, end in RANGES:
            assert await store.load_body(claim.body, start, end) == whole[start:end]
        assert not await store.append_body(claim, len(whole), b"more")

    async def test_a_body_outlives_a_reopening_with_its_claim(self, store: Store) -> None:
        """Who holds the claim then goes on with it, and keeps all of it."""
        claim = await claimed(store)
        parts = a_body(100)
        await append(store, claim, *parts[:2])
        await store.close()
        await store.open()
        assert await store.append_body(claim, 2 * PIECE_BYTES, parts[2])
        assert await keep(store, claim) == [Outcome.APPLIED]
        assert await store.load_body(claim.body) == b"".join(parts)

    async def test_a_body_may_end_with_a_whole_piece(self, store: Store) -> None:
        """And then has nothing behind it."""
        claim = await claimed(store)
        parts = a_body(0)[:2]
        await append(store, claim, *parts)
        await keep(store, claim)
        assert await store.load_body(claim.body, PIECE_BYTES) == parts[1]
        assert await store.load_body(claim.body, 2 * PIECE_BYTES) == b""

    async def test_a_body_that_is_not_kept_is_gone(self, store: Store) -> None:
        """A new claim of the item has none of its pieces; a commit that keeps what is not there keeps nothing."""
        claim = await claimed(store)
        await append(store, claim, *a_body(100))
        assert (await store.transact([Commit(now=0, done=(claim,))])).outcomes == [Outcome.APPLIED]
        assert await keep(store, claim) == [Outcome.CONFLICT]
        again = await claimed(store)
        assert await keep(store, again) == [Outcome.APPLIED]
        assert await store.load_body(claim.body) is None
        assert await store.load_body(again.body) is None

    async def test_a_body_begins_anew(self, store: Store) -> None:
        """At 0, within the same claim."""
        claim = await claimed(store)
        await append(store, claim, *a_body(100))
        parts = a_body(7, seed=3)
        await append(store, claim, *parts)
        await keep(store, claim)
        assert await store.load_body(claim.body) == b"".join(parts)

    async def test_a_piece_that_comes_again_replaces_itself(self, store: Store) -> None:
        """Who did not hear that it was stored may say it once more."""
        claim = await claimed(store)
        parts = a_body(7)
        await append(store, claim, *parts[:2])
        assert await store.append_body(claim, PIECE_BYTES, parts[1])
        assert await store.append_body(claim, 2 * PIECE_BYTES, parts[2])
        await keep(store, claim)
        assert await store.load_body(claim.body) == b"".join(parts)

    async def test_a_late_owner_stores_nothing(self, store: Store) -> None:
        """Neither once another has the item, nor when it was given back, dropped or replaced; the new body is whole."""
        late = await claimed(store)
        await append(store, late, *a_body(100)[:1])
        assert await store.rescue(1) == 1
        (item,) = (await store.transact([], ClaimRequest("new", 1, 0))).claimed
        claim = ItemRef(item.run_id, item.key, item.claim)
        parts = a_body(9, seed=1)
        await append(store, claim, *parts[:1])
        assert not await store.append_body(late, PIECE_BYTES, b"late")
        assert await store.append_body(claim, PIECE_BYTES, parts[1])
        assert await store.append_body(claim, 2 * PIECE_BYTES, parts[2])
        assert await keep(store, late) == [Outcome.CONFLICT]
        await keep(store, claim)
        assert await store.load_body(claim.body) == b"".join(parts)
        assert await store.load_body(late.body) is None

    async def test_every_end_of_a_claim_ends_its_body(self, store: Store) -> None:
        """Released, replaced by a put, dropped with its run; a claim that never was has none."""
        released, replaced, dropped = [await claimed(store, key, run_id=run) for key, run in _ENDS]
        for claim in (released, replaced, dropped):
            await append(store, claim, b"x")
        await store.release([released])
        again = Item(run_id=replaced.run_id, key=replaced.key, kind=WorkKind.FETCH, due_at=9)
        drop = Item(run_id=dropped.run_id, key="other", kind=WorkKind.TIMER, due_at=9)
        await store.transact([Commit(now=0, put=(again,)), Commit(now=0, drop=True, put=(drop,))])
        for claim in (released, replaced, dropped, ItemRef("no", "a", 1)):
            assert not await store.append_body(claim, 0, b"y")
            assert await keep(store, claim) == [Outcome.CONFLICT]
            assert await store.load_body(claim.body) is None

    async def test_bodies_arrive_side_by_side(self, store: Store) -> None:
        """Each claim has its own, and a refused commit keeps none."""
        one, two = await claimed(store, "a"), await claimed(store, "b")
        parts = a_body(5), a_body(6, seed=9)
        for number in range(3):
            for claim, body in zip((one, two), parts, strict=True):
                assert await store.append_body(claim, number * PIECE_BYTES, body[number])
        wrong = ItemRef("R1", "b", two.claim + 1)
        assert (await store.transact([Commit(now=0, done=(one, wrong), keep=(one,))])).outcomes == [Outcome.CONFLICT]
        assert await store.load_body(one.body) is None
        await keep(store, one)
        await keep(store, two)
        assert await store.load_body(one.body) == b"".join(parts[0])
        assert await store.load_body(two.body) == b"".join(parts[1])


_ENDS = (("a", "R1"), ("b", "R1"), ("c", "R2"))
