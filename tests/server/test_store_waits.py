"""Waits in an encrypted store: found by what may not be read, also after a change of keys."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from stepwell.core.model import Wait
from stepwell.core.outputs import Commit
from stepwell.server.build import open_store
from stepwell.server.store.base import Store, WaitQuery
from stepwell.server.store.codec import encode
from stepwell.server.store.migrate import load_migrations
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.server.store.sqlite.connect import APPLICATION_ID
from stepwell.testing.platform.cancellation_conformance import CancellationConformance, a_cancellation
from stepwell.testing.platform.pause_conformance import PauseConformance
from stepwell.testing.platform.waits_conformance import WaitsConformance, a_delivery

OLD, NEW = "11" * 32, "22" * 32
A = Wait(
    run_id="R1",
    step_id="s1",
    name="paid",
    expression="async.data.x == event.data.x",
    event=b'{"data":{"x":"password-1"}}',
)
B = Wait(run_id="R2", step_id="s1", name="paid", expression="x", path="data.password-2", value=b"spassword-3")
C = Wait(run_id="R3", step_id="s1", name="paid")


def ids(waits: list[Wait]) -> list[str]:
    return [wait.run_id for wait in waits]


class TestSealedStore(WaitsConformance, CancellationConformance, PauseConformance):
    """The same meaning as without a key."""

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        store = open_store(f"sqlite:///{tmp_path / 'w.db'}")
        await store.open()
        yield store
        await store.close()


async def test_what_a_wait_says_is_not_readable_in_the_file(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'w.db'}")
    await store.open()
    await store.transact([Commit(now=1, waits=(A, B, C))])
    await store.close()
    assert not [path for path in tmp_path.iterdir() if b"password" in path.read_bytes()]
    await store.open()
    found = await store.find_waits(WaitQuery(name="paid", at=(("data.password-2", b"spassword-3"),)))
    assert [replace(wait, seq=0) for wait in found] == [A, B, C]
    await store.close()


async def test_what_a_cancellation_says_is_not_readable_in_the_file(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'w.db'}")
    await store.open()
    await store.transact([Commit(now=1, cancellations=(a_cancellation(1, "event.data.x == 'password'"),))])
    await store.close()
    assert not [path for path in tmp_path.iterdir() if b"password" in path.read_bytes()]


async def test_waits_of_an_older_key_are_found(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'w.db'}"
    store = open_store(url, keys=[OLD])
    await store.open()
    await store.transact([Commit(now=1, waits=(A, B))])
    await store.close()
    store = open_store(url, keys=[NEW, OLD])
    await store.open()
    await store.transact([Commit(now=2, waits=(replace(B, run_id="R4"),))])
    at = (("data.password-2", b"spassword-3"),)
    assert ids(await store.find_waits(WaitQuery(name="paid", at=at))) == ["R1", "R2", "R4"]
    assert {wait.path for wait in await store.waited_places("paid")} == {"data.password-2"}
    assert ids(await store.find_waits(WaitQuery(name="paid", at=(("data.password-2", b"sother"),)))) == ["R1"]
    await store.close()


async def test_waits_of_an_older_file_go_on(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    older = [each for each in load_migrations("stepwell.server.store.sqlite") if each.number <= 3]
    with closing(sqlite3.connect(path)) as conn:
        for migration in older:
            conn.executescript(migration.sql)
        for wait in (C, replace(C, run_id="R1")):
            row = (wait.run_id, wait.step_id, wait.name, encode(wait))
            conn.execute("INSERT INTO waits (run_id, step_id, name, data) VALUES (?, ?, ?, ?)", row)
        conn.execute("PRAGMA user_version = 3")
        conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        conn.commit()
    store = SQLiteStore(path)
    await store.open()
    await store.transact([Commit(now=1, waits=(replace(C, run_id="R0"),))])
    await store.transact([Commit(now=1, put=(a_delivery(),))])
    assert ids(await store.find_waits(WaitQuery(name="paid", before=("event:E1", "deliver")))) == ["R1", "R3", "R0"]
    await store.close()
