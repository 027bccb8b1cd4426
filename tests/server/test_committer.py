"""What the committer does when the store does not work."""

import asyncio
from collections.abc import Sequence

from stepwell.core.outputs import Commit
from stepwell.server.clock import SystemClock
from stepwell.server.runtime.committer import Committer
from stepwell.server.store.base import ClaimRequest, StoreError, Transacted, Unsure
from stepwell.server.store.memory import MemoryStore
from stepwell.testing.platform.store_conformance import an_item, ref
from tests.e2e.ugly import until


class Failing(MemoryStore):
    """Does nothing the first time, does its work and says nothing the second time."""

    asked = 0

    async def transact(self, commits: Sequence[Commit], claim: ClaimRequest | None = None) -> Transacted:
        self.asked += 1
        if self.asked == 1:
            raise StoreError("not now")
        found = await super().transact(commits, claim)
        if self.asked == 2:
            raise Unsure("no answer", [ref(item) for item in found.claimed])
        return found


async def test_what_must_be_stored_and_claims_without_an_answer() -> None:
    store, taken = Failing(), asyncio.Event()
    committer = Committer(store, SystemClock(), "me", lambda: 0 if taken.is_set() else 1, lambda _: taken.set())
    committer.start()
    committer.submit_until_stored(Commit(now=1, put=(an_item("a"),)))
    await until(taken.is_set)
    assert store.asked > 2
    (item,) = await store.list_items(an_item("a").run_id)
    assert item.claim > 1, "the claim that nobody had heard of was given back"
    await committer.stop()
