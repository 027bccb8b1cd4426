"""What waits for events: stored with a transition, found by name, gone when it is told so. On each store, sealed too."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stepwell.core.model import Wait
from stepwell.core.outputs import Commit
from stepwell.server.build import open_store
from stepwell.server.store.base import Store

A = Wait(
    run_id="R1",
    step_id="s1",
    name="paid",
    expression="async.data.x == event.data.x",
    event=b'{"data":{"x":"password-1"}}',
)
B = Wait(run_id="R2", step_id="s1", name="paid")
C = Wait(run_id="R1", step_id="cancel:0", name="cancelled")


@pytest.fixture(params=["memory:", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    found = open_store("memory:" if request.param == "memory:" else f"sqlite:///{tmp_path / 'w.db'}")
    await found.open()
    yield found
    await found.close()


async def test_found_by_name_until_deleted(store: Store) -> None:
    await store.transact([Commit(now=1, waits=(A, B)), Commit(now=1, more=(Commit(now=1, waits=(C,)),))])
    assert await store.find_waits(["paid"]) == [A, B]
    assert await store.find_waits(["cancelled", "other"]) == [C]
    assert await store.waiting_names() == {"paid", "cancelled"}
    await store.transact([Commit(now=2, unwait=(("R1", "s1"), ("R9", "s9")))])
    assert await store.find_waits(["paid"]) == [B]


async def test_the_event_of_a_wait_is_not_readable_in_the_file(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'w.db'}")
    await store.open()
    await store.transact([Commit(now=1, waits=(A,))])
    await store.close()
    assert not [path for path in tmp_path.iterdir() if b"password-1" in path.read_bytes()]
    await store.open()
    assert await store.find_waits(["paid"]) == [A]
    await store.close()
