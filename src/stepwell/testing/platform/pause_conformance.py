"""What every store must do about paused functions and what events did not start: part of the suite in ``store_conformance``."""

from stepwell.core.model import Pause, RunKey
from stepwell.core.outputs import Commit, RateLimited
from stepwell.server.store.base import Store


class PauseConformance:
    """Kept until they are dropped; the keys in one place are found."""

    async def test_pauses_are_kept_until_they_are_dropped(self, store: Store) -> None:
        """By id; also over reopening; the first moment counts."""
        await store.save_pause(Pause("b", 5))
        await store.save_pause(Pause("a", 7))
        await store.save_pause(Pause("b", 9))
        await store.close()
        await store.open()
        assert await store.pauses() == [Pause("a", 7), Pause("b", 5)]
        assert await store.drop_pause("b")
        assert not await store.drop_pause("b")
        await store.save_pause(Pause("b", 11))
        assert await store.pauses() == [Pause("a", 7), Pause("b", 11)]

    async def test_the_keys_in_one_place_are_found(self, store: Store) -> None:
        """Those of a commit, and those that are written because a limit lets it not pass."""
        keys = [RunKey(place, key, 2**40) for place, key in ((":a", "2"), (":a", "1"), (":b", "3"))]
        await store.transact([Commit(now=1, keys=tuple(keys))])
        refused = Commit(now=1, keys=(RunKey(":a", "0", 2**40),))
        limited = [Commit(now=1, admit=(RateLimited("rate", 1, 1_000, refused),)) for _ in range(2)]
        await store.transact(limited)
        assert await store.keys_of(":a") == ["0", "1", "2"]
        assert await store.keys_of(":none") == []
