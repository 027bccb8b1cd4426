"""A schema that becomes newer while processes work on it."""

import asyncio
import json
import re
import sys

import pytest

from stepwell.cli import migrating
from stepwell.cli.main import run
from stepwell.core.outputs import Commit
from stepwell.server.clock import SystemClock
from stepwell.server.store.base import StoreError
from stepwell.server.store.migrate import Migration, load_migrations
from stepwell.server.store.postgres import PostgresStore, schema
from stepwell.server.store.postgres.connect import connect
from stepwell.testing.platform.postgres import make_database
from stepwell.testing.platform.store_conformance import OK, a_run
from stepwell.testing.platform.worker_conformance import a_worker
from stepwell.wire.constants import VERSION

KNOWN = load_migrations("stepwell.server.store.postgres")
ADDS = Migration(len(KNOWN) + 1, "adds", "ALTER TABLE stepwell.runs ADD COLUMN extra int;")
TAKES = Migration(len(KNOWN) + 2, "takes.post", "ALTER TABLE stepwell.runs DROP COLUMN extra;")


@pytest.fixture
def knows(monkeypatch: pytest.MonkeyPatch) -> list[Migration]:
    """What this program knows: the next version of it adds a column, and later takes one away."""
    known = [*KNOWN, ADDS, TAKES]
    monkeypatch.setattr(schema, "load_migrations", lambda _: known)
    monkeypatch.setattr("stepwell.server.store.migrate.load_migrations", lambda _: known)
    return known


async def opens(url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    await store.close()


async def test_an_old_process_works_on_and_may_start_again_until_it_is_replaced(knows: list[Migration]) -> None:
    del knows[len(KNOWN) :]
    old = PostgresStore(url := await make_database())
    await old.open()
    knows += [ADDS, TAKES]
    with pytest.raises(StoreError, match=f"has schema {len(KNOWN)}, this Stepwell needs {ADDS.number}"):
        await opens(url)
    assert await schema.migrate(url) == (len(KNOWN), ADDS.number)
    assert (await old.transact([Commit(now=1, run=a_run())])).outcomes == [OK]
    await opens(url)
    del knows[len(KNOWN) :]
    await opens(url)
    knows += [ADDS, TAKES]
    assert await schema.migrate(url) == (ADDS.number, ADDS.number), "the rest has to be asked for"
    assert await schema.migrate(url, post=True) == (ADDS.number, TAKES.number)
    await opens(url)
    del knows[len(KNOWN) :]
    with pytest.raises(StoreError, match="written by a newer Stepwell"):
        await opens(url)
    await old.close()


async def test_an_empty_database_gets_all_of_it(knows: list[Migration]) -> None:
    url = await make_database()
    await opens(url)
    assert await schema.migrate(url) == (TAKES.number, TAKES.number)


async def test_a_migration_does_not_make_everybody_wait(
    knows: list[Migration], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody reads a table for a long time: it is tried again, and in the end says so."""
    del knows[len(KNOWN) :]
    await opens(url := await make_database())
    knows += [ADDS, TAKES]
    monkeypatch.setattr(schema, "_TABLE_S", "50ms")
    monkeypatch.setattr(schema, "_PAUSE_S", 0.01)
    monkeypatch.setattr(schema, "_TRIES", 3)
    reading = await connect(url)
    async with reading.transaction():
        await reading.fetch("SELECT * FROM stepwell.runs")
        with pytest.raises(StoreError, match="in use all the time, nothing was changed"):
            await schema.migrate(url)
        monkeypatch.setattr(schema, "_TRIES", 2_000)
        waiting = asyncio.ensure_future(schema.migrate(url))
        await asyncio.sleep(0.2)
        assert not waiting.done()
    assert await asyncio.wait_for(waiting, 20) == (len(KNOWN), ADDS.number)
    await reading.close()


def test_the_rest_waits_for_processes_of_other_versions(
    knows: list[Migration], capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is gone counts no longer."""
    url = asyncio.run(made_by_version_before(knows))
    assert run(["migrate", "--db", url]) == 0
    said = capsys.readouterr().out
    assert said.endswith(f"1 more: run `stepwell migrate --post` once every process runs Stepwell {VERSION}.\n")
    assert run(["migrate", "--db", url, "--post"]) == 1
    assert "replace them first: 7 on machine (1.2.3)." in capsys.readouterr().err
    asyncio.run(goes(url))
    assert run(["migrate", "--db", url, "--post"]) == 0
    assert f"has version {TAKES.number} now" in capsys.readouterr().out


@pytest.mark.parametrize("terminal", [True, False])
def test_each_migration_is_named_with_its_time(
    knows: list[Migration], terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it runs, too: in one line on a terminal, in lines of their own elsewhere. Scripts get their JSON alone."""
    monkeypatch.setattr(migrating, "TICK_S" if terminal else "SAID_S", 0.01)
    url = asyncio.run(made_by_version_before(knows))
    knows[len(KNOWN)] = Migration(ADDS.number, "adds_a_column", f"{ADDS.sql} SELECT pg_sleep(0.2);")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert run(["migrate", "--db", url]) == 0
    told = capsys.readouterr()
    name = f"Migration {ADDS.number}, adds a column"
    assert told.out.startswith(f"The schema has version {ADDS.number} now")
    assert f"{name}: {'…' if terminal else ''}" in told.err
    assert " so far" in told.err
    *_, last = told.err.split("\r\x1b[K") if terminal else told.err.splitlines(keepends=True)
    assert re.fullmatch(rf"{name}: \d[\w. ]*\n", last), last
    assert "so far" not in last
    assert told.err.count("\n") == 1 or not terminal
    asyncio.run(goes(url))
    assert run(["migrate", "--db", url, "--post", "--json"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert json.loads(told.out) == {"before": ADDS.number, "after": TAKES.number, "left": 0}


async def test_a_migration_that_begins_anew_says_so(
    knows: list[Migration], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table was in use."""
    del knows[len(KNOWN) :]
    await opens(url := await make_database())
    knows += [ADDS]
    monkeypatch.setattr(schema, "_TABLE_S", "50ms")
    monkeypatch.setattr(schema, "_PAUSE_S", 0.01)
    monkeypatch.setattr(schema, "_TRIES", 2)
    reading = await connect(url)
    async with reading.transaction():
        await reading.fetch("SELECT * FROM stepwell.runs")
        with pytest.raises(StoreError, match="nothing was changed"):
            await schema.migrate(url, around=migrating.told)
    await reading.close()
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r" after .*", "", line) for line in lines] == [f"Migration {ADDS.number}, adds: undone"] * 2


async def made_by_version_before(knows: list[Migration]) -> str:
    del knows[len(KNOWN) :]
    store = PostgresStore(url := await make_database())
    await store.open()
    now = SystemClock().now()
    await store.beat(a_worker("W1", now), 0)
    await store.beat(a_worker("W2", now - 3_000_000), 0)
    await store.close()
    knows += [ADDS, TAKES]
    return url


async def goes(url: str) -> None:
    conn = await connect(url)
    await conn.execute("DELETE FROM stepwell.workers WHERE worker_id = 'W1'")
    await conn.close()
