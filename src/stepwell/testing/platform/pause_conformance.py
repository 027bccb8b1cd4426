"""What every store must do about paused functions. Part of the suite in ``store_conformance``."""

from stepwell.core.model import Pause
from stepwell.server.store.base import Store


class PauseConformance:
    """Kept until they are dropped."""

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
