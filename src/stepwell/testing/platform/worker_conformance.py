"""What every store must do about processes, and the one that leads. Part of the suite in ``store_conformance``."""

from stepwell.server.store.base import Store, WorkerRecord


def a_worker(worker_id: str, beat_at: int, **more: int | bool) -> WorkerRecord:
    """A process."""
    return WorkerRecord(
        worker_id=worker_id,
        host="machine",
        pid=7,
        version="1.2.3",
        started_at=1,
        beat_at=beat_at,
        apps=("a", "b"),
        **more,  # pyright: ignore[reportArgumentType]
    )


class WorkerConformance:
    """Kept until they end, or are forgotten by the beat of another."""

    async def test_processes_are_listed_as_of_their_newest_beat(self, store: Store) -> None:
        """By id; a beat replaces the one before; over reopening too."""
        two, one = a_worker("W2", 5), a_worker("W1", 6)
        for worker in (two, one, a_worker("W2", 8, items=3, stopping=True)):
            await store.beat(worker, 0)
        await store.close()
        await store.open()
        assert await store.workers() == [one, a_worker("W2", 8, items=3, stopping=True)]

    async def test_a_process_that_ends_is_listed_no_more(self, store: Store) -> None:
        """One that is not known is ignored."""
        await store.beat(a_worker("W1", 5), 0)
        await store.beat(a_worker("W2", 5), 0)
        for worker_id in ("W1", "W1", "W9"):
            await store.drop_worker(worker_id)
        assert [worker.worker_id for worker in await store.workers()] == ["W2"]

    async def test_a_beat_forgets_processes_that_are_long_gone(self, store: Store) -> None:
        """Those before the time that it names, but never itself."""
        for worker_id, at in (("W1", 4), ("W2", 5)):
            await store.beat(a_worker(worker_id, at), 0)
        await store.beat(a_worker("W3", 2), 5)
        assert [worker.worker_id for worker in await store.workers()] == ["W2", "W3"]


class LeaderConformance:
    """At most one process leads at any time."""

    async def test_one_leads_until_its_time_is_over(self, store: Store) -> None:
        """It goes on as long as it asks in time; then who asks first is the next one."""
        assert await store.lead("A", now=10, expires_at=20)
        assert not await store.lead("B", now=19, expires_at=90)
        assert await store.lead("A", now=19, expires_at=30)
        assert not await store.lead("B", now=29, expires_at=90)
        assert await store.lead("B", now=30, expires_at=40)
        assert not await store.lead("A", now=31, expires_at=99)
        assert await store.lead("A", now=40, expires_at=50)

    async def test_who_resigns_leads_no_longer(self, store: Store) -> None:
        """Only the one that leads can."""
        assert await store.lead("A", now=10, expires_at=20)
        await store.resign("B")
        assert not await store.lead("B", now=11, expires_at=90)
        await store.resign("A")
        assert await store.lead("B", now=11, expires_at=90)

    async def test_who_has_a_store_to_itself_finds_no_leader(self, store: Store) -> None:
        """The process before may have died with a lease that is not over; elsewhere that lease holds."""
        assert await store.lead("A", now=10, expires_at=2**62)
        await store.close()
        await store.open()
        assert await store.lead("B", now=11, expires_at=2**62) == store.exclusive
