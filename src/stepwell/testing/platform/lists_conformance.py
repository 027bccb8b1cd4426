"""What every store must do about lists of events and runs. Part of the suite in ``store_conformance``."""

from stepwell.core.model import Run, StoredEvent
from stepwell.core.outputs import Commit
from stepwell.server.store.base import EventQuery, RunQuery, Store


def _event(number: int, name: str = "n", received_at: int = 0) -> StoredEvent:
    return StoredEvent(internal_id=f"E{number}", event_id="id", name=name, received_at=received_at, body=b"{}")


async def _ids(store: Store, query: EventQuery) -> list[str]:
    return [event.internal_id for event in await store.list_events(query)]


class ListsConformance:
    """Events by time and name, runs by app and time."""

    async def test_events_are_listed_by_when_they_came(self, store: Store) -> None:
        """The last received first, whatever their ids say; those of one millisecond by id; all conditions together."""
        received = {0: 50, 1: 10, 2: 30, 3: 30, 4: 20, 5: 30}
        events = tuple(_event(n, "even" if n % 2 == 0 else "odd", at) for n, at in received.items())
        await store.transact([Commit(now=1, events=events)])
        assert await _ids(store, EventQuery()) == ["E0", "E5", "E3", "E2", "E4", "E1"]
        assert await _ids(store, EventQuery(limit=2)) == ["E0", "E5"]
        assert await _ids(store, EventQuery(before=(30, "E5"), limit=2)) == ["E3", "E2"]
        assert await _ids(store, EventQuery(before=(30, "E2"))) == ["E4", "E1"]
        assert await _ids(store, EventQuery(name="even")) == ["E0", "E2", "E4"]
        assert await _ids(store, EventQuery(name="odd", before=(30, "E5"), after=10)) == ["E3"]
        assert await _ids(store, EventQuery(after=20, until=50)) == ["E5", "E3", "E2"]
        assert await _ids(store, EventQuery(name="eve")) == []
        assert (await store.list_events(EventQuery(limit=1)))[0] == events[0]

    async def test_pages_of_events_stay_where_they_are(self, store: Store) -> None:
        """What comes in between two pages is on neither."""
        await store.transact([Commit(now=1, events=tuple(_event(n, received_at=5) for n in range(4)))])
        assert await _ids(store, EventQuery(limit=2)) == ["E3", "E2"]
        await store.transact([Commit(now=1, events=(_event(9, received_at=5), _event(8, received_at=6)))])
        assert await _ids(store, EventQuery(limit=2, before=(5, "E2"))) == ["E1", "E0"]

    async def test_runs_are_listed_by_app_and_time(self, store: Store) -> None:
        """Ids above and below, together with the other conditions."""
        runs = [Run(run_id=f"R{n}", function_id=f"f{n % 3}", app_id=f"a{n % 2}", event_ids=("E",)) for n in range(9)]
        await store.transact([Commit(now=1, run=run) for run in runs])

        async def ids(query: RunQuery) -> list[str]:
            return [run.run_id for run in await store.list_runs(query)]

        assert await ids(RunQuery(app_id="a1")) == ["R7", "R5", "R3", "R1"]
        assert await ids(RunQuery(app_id="a1", after="R1", before="R7")) == ["R5", "R3"]
        assert await ids(RunQuery(app_id="a1", status="completed")) == []
        assert await ids(RunQuery(app_id="a1", status="queued", limit=1)) == ["R7"]
        assert await ids(RunQuery(app_id="a1", function_id="f1")) == ["R7", "R1"]
        assert await ids(RunQuery(app_id="a0", event_id="E", after="R3")) == ["R8", "R6", "R4"]
        assert await ids(RunQuery(after="R6")) == ["R8", "R7"]
        assert await ids(RunQuery(after="R3", function_id="f0")) == ["R6"]
        assert await ids(RunQuery(after="R6", status="queued")) == ["R8", "R7"]
