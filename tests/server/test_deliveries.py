"""Events on their way to what waits for them: the right ones are found, few are looked at, the first event has a wait."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepwell.core.model import Run, StoredEvent, Wait, WorkKind
from stepwell.core.outputs import Commit
from stepwell.core.waits import delivery, meets, wait_for_event
from stepwell.server.clock import SystemClock
from stepwell.server.runtime.committer import Committer
from stepwell.server.runtime.deliveries import Deliveries
from stepwell.server.store.base import ClaimRequest, Outcome, StoreError, WaitQuery
from stepwell.server.store.memory import MemoryStore
from stepwell.server.store.sqlite import SQLiteStore
from tests.core.test_cel_keys import EQUALITIES, SCALARS
from tests.core.test_cel_residual import EVENTS, TEXTS, parsed

_TRIGGER: dict[str, Any] = {"name": "start", "data": {}, "a": 1, "b": "b"}


class Counted(MemoryStore):
    """Counts the waits that are looked at; fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_at = 0
        self.failures = 0

    async def find_waits(self, query: WaitQuery) -> list[Wait]:
        found = await super().find_waits(query)
        self.looked_at += len(found)
        if self.failures:
            self.failures -= 1
            raise StoreError("the disk is full")
        return found


class CountedOnDisk(SQLiteStore):
    looked_at = 0

    async def find_waits(self, query: WaitQuery) -> list[Wait]:
        found = await super().find_waits(query)
        self.looked_at += len(found)
        return found


class Direct:
    """A committer that writes at once."""

    def __init__(self, store: MemoryStore | SQLiteStore) -> None:
        self._store = store
        self.batches = 0

    async def write(self, commits: Sequence[Commit]) -> list[Outcome]:
        self.batches += 1
        return (await self._store.transact(commits)).outcomes

    def wake(self) -> None:
        pass


def a_wait(run_id: str, condition: str | None, trigger: dict[str, Any]) -> Wait:
    run = Run(run_id=run_id, function_id="fn", app_id="app")
    opts = msgspec.json.encode({"timeout": "1h"} | ({"if": condition} if condition else {}))
    return wait_for_event(run, "s", "e", opts, msgspec.json.encode(trigger))[0]


def an_event(number: int, body: dict[str, Any]) -> StoredEvent:
    text = msgspec.json.encode(body | {"name": "e"})
    return StoredEvent(internal_id=f"E{number}", event_id="id", name="e", received_at=1, body=text)


async def woken(store: MemoryStore | SQLiteStore, *events: StoredEvent) -> dict[str, str]:
    """Hand out events that come in this order: which event each run got."""
    deliveries = Deliveries(store, SystemClock())
    deliveries.committer = cast("Committer", Direct(store))
    await store.transact([Commit(now=1, events=(event,), put=(delivery(event),)) for event in events])
    for item in (await store.transact([], ClaimRequest("me", 100, 9))).claimed:
        deliveries.take(item)
    await deliveries.run()
    claimed = (await store.transact([], ClaimRequest("me", 10_000, 2**60))).claimed
    assert all(item.kind is WorkKind.RESUME for item in claimed)
    bodies = {event.body: event.internal_id for event in events}
    return {item.run_id: bodies[item.payload or b""] for item in claimed}


CONDITIONS = EQUALITIES | TEXTS | st.tuples(EQUALITIES, TEXTS).map(lambda two: f"({two[0]}) && ({two[1]})")
BODIES = EVENTS | st.fixed_dictionaries({"a": SCALARS | st.sampled_from([1, 1.0, "a", True, None])})


@given(st.lists(st.tuples(CONDITIONS, EVENTS), min_size=1, max_size=5), BODIES)
@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
async def test_the_index_finds_what_a_scan_finds(
    conditions: list[tuple[str, dict[str, Any]]], body: dict[str, Any]
) -> None:
    waits = [a_wait(f"R{n}", text, trigger) for n, (text, trigger) in enumerate(conditions) if parsed(text) is not None]
    store = MemoryStore()
    await store.transact([Commit(now=1, waits=tuple(waits))])
    event = an_event(1, body)
    seen = msgspec.json.decode(event.body)
    assert set(await woken(store, event)) == {wait.run_id for wait in waits if meets(wait, seen, 1)}


@pytest.mark.parametrize(
    ("condition", "data", "met"),
    [
        ("async.data.n == 1", {"n": 1.0}, True),
        ("async.data.n == 1.0", {"n": 1}, True),
        ("async.data.n == 1", {"n": True}, False),
        ("async.data.n == '1'", {"n": 1}, False),
        ("async.data.n == null", {}, True),
        ("async.data.n == null", {"n": None}, True),
        ("async.data.n == event.data.gone", {}, False),
        ("async.data.n == event.data.gone", {"n": None}, True),
        ("async.data.ok == true && async.data.n > 2", {"ok": True, "n": 3}, True),
        ("async.data.ok == true && async.data.n > 2", {"ok": True, "n": 2}, False),
        ("'x' == async.data.s", {"s": "x"}, True),
    ],
)
async def test_values_are_compared_as_expressions_do(condition: str, data: dict[str, Any], met: bool) -> None:
    store = MemoryStore()
    await store.transact([Commit(now=1, waits=(a_wait("R1", condition, _TRIGGER),))])
    assert bool(await woken(store, an_event(1, {"data": data}))) is met


async def test_one_of_a_hundred_thousand_is_found_by_looking_at_one(tmp_path: Path) -> None:
    store = CountedOnDisk(tmp_path / "w.db")
    await store.open()
    one = a_wait("R", "async.data.id == event.data.id", {"data": {"id": "order 0"}})
    assert one.value == b"sorder 0"
    waits = [msgspec.structs.replace(one, run_id=f"R{n:06}", value=b"sorder %d" % n) for n in range(100_000)]
    for start in range(0, len(waits), 20_000):
        await store.transact([Commit(now=1, waits=tuple(waits[start : start + 20_000]))])
    await store.transact([Commit(now=1, waits=(msgspec.structs.replace(one, run_id="wanted", value=b"sorder 0"),))])
    assert await woken(store, an_event(1, {"data": {"id": "order 0"}})) == {"R000000": "E1", "wanted": "E1"}
    assert store.looked_at == 2
    assert await woken(store, an_event(2, {"data": {"id": "no order"}})) == {}
    assert await woken(store, an_event(3, {"data": {}})) == {}
    assert store.looked_at == 2
    await store.close()


async def test_of_two_events_the_earlier_has_the_wait() -> None:
    """Over more waits than are looked at in one transaction."""
    store = Counted()
    waits = [a_wait(f"R{n:04}", None, _TRIGGER) for n in range(1_200)]
    await store.transact([Commit(now=1, waits=tuple(waits))])
    found = await woken(store, an_event(1, {"data": {}}), an_event(2, {"data": {"second": True}}))
    assert found == {wait.run_id: "E1" for wait in waits}


async def test_an_event_that_meets_a_wait_taken_by_another_may_have_the_next() -> None:
    store = Counted()
    await store.transact([Commit(now=1, waits=(a_wait("R1", "async.data.n > 0", _TRIGGER),))])
    await store.transact([Commit(now=1, waits=(a_wait("R2", "async.data.n > 1", _TRIGGER),))])
    found = await woken(store, an_event(1, {"data": {"n": 1}}), an_event(2, {"data": {"n": 2}}))
    assert found == {"R1": "E1", "R2": "E2"}


async def test_nothing_is_lost_when_the_store_fails_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.server.runtime.deliveries._RETRY_S", 0.0)
    store = Counted()
    store.failures = 2
    waits = [a_wait(f"R{n:04}", None, _TRIGGER) for n in range(600)]
    await store.transact([Commit(now=1, waits=tuple(waits))])
    assert len(await woken(store, an_event(1, {"data": {}}))) == 600


async def test_a_wait_that_is_not_understood_holds_up_no_other() -> None:
    """As a later version may have stored it."""
    store = MemoryStore()
    odd = Wait(run_id="R1", step_id="w", name=a_wait("R1", None, _TRIGGER).name, expression="async.data.")
    await store.transact([Commit(now=1, waits=(odd, a_wait("R2", None, _TRIGGER)))])
    assert await woken(store, an_event(1, {"data": {}})) == {"R2": "E1"}


async def test_an_event_that_is_gone_wakes_nobody() -> None:
    store = MemoryStore()
    gone = an_event(1, {})
    await store.transact([Commit(now=1, waits=(a_wait("R1", None, _TRIGGER),), put=(delivery(gone),))])
    assert await woken(store) == {}
    assert (await store.counts()).queued == 0
