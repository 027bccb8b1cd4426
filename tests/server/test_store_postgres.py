"""PostgreSQL that goes away and comes back, schemas of other versions, and what is told."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator

import pytest

from stepwell.cli.main import run
from stepwell.core.model import ItemRef, Pace
from stepwell.core.outputs import Commit
from stepwell.server.build import open_store
from stepwell.server.settings import SettingsError
from stepwell.server.store.base import APPS, TOPICS, WORK, AppRecord, ClaimRequest, Outcome, StoreError, Unsure
from stepwell.server.store.migrate import load_migrations
from stepwell.server.store.postgres import PostgresStore
from stepwell.server.store.postgres.connect import connect
from stepwell.server.store.postgres.failures import explained
from stepwell.server.store.postgres.queries import SQL, texts, whole
from stepwell.server.store.postgres.schema import migrate
from stepwell.testing.platform.pace_conformance import a_paced
from stepwell.testing.platform.postgres import PostgresServer, clean_database, make_database
from stepwell.testing.platform.store_conformance import a_run, an_item
from tests.e2e.ugly import until

NEWEST = len(load_migrations("stepwell.server.store.postgres"))


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that a test may stop."""
    server = PostgresServer({"fsync": "on"})
    server.start()
    yield server
    server.remove()


@pytest.fixture
async def store() -> AsyncIterator[PostgresStore]:
    store = PostgresStore(await clean_database())
    await store.open()
    yield store
    await store.close()


async def works_again(store: PostgresStore, commit: Commit) -> None:
    async def works() -> bool:
        try:
            await store.transact([commit])
        except StoreError:
            return False
        return True

    await until(works, 30)


async def test_a_pace_is_not_forgotten_by_a_clock_that_is_ahead(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a few seconds, as clocks may be; a minute after it means nothing it is."""
    monkeypatch.setattr("stepwell.server.store.postgres.store._TIDY_EVERY", 1)
    slow = Pace("host:a", 1, 2_000)
    one, other = (Commit(now=0, put=(a_paced(key, slow),)) for key in "ab")
    (first,) = (await store.transact([one], ClaimRequest("behind", 10, 1_000))).claimed
    assert (await store.transact([], ClaimRequest("ahead", 0, 7_000))).claimed == []
    assert (await store.transact([other], ClaimRequest("behind", 10, 1_500))).claimed == []
    done = Commit(now=3_500, done=(ItemRef(first.run_id, first.key, first.claim),))
    assert len((await store.transact([done], ClaimRequest("behind", 10, 3_500))).claimed) == 1
    await store.transact([], ClaimRequest("ahead", 0, 5_500 + 60_000))
    assert await _flows(store) == 0


async def _flows(store: PostgresStore) -> int:
    conn = await connect(url_of(store))
    try:
        return int(await conn.fetchval("SELECT count(*) FROM stepwell.flows"))
    finally:
        await conn.close()


async def test_a_database_that_crashes_and_comes_back(server: PostgresServer) -> None:
    """What was acknowledged is there; meanwhile a sentence says what is wrong; nobody has to be started anew."""
    store = PostgresStore(server.url)
    await store.open()
    await store.transact([Commit(now=1, run=a_run("R1"), put=(an_item("a"),))])
    await asyncio.to_thread(server.stop)  # SIGQUIT: nothing is tidied up
    with pytest.raises(StoreError, match=r"^The PostgreSQL database: it can not be reached") as told:
        await store.transact([Commit(now=1, run=a_run("R2"))])
    assert "\n" not in str(told.value)
    with pytest.raises(StoreError):
        await store.load_runs(["R1"])
    await asyncio.to_thread(server.start)
    await works_again(store, Commit(now=2, run=a_run("R3")))
    assert [view.run.run_id for view in await store.load_runs(["R1", "R2", "R3"])] == ["R1", "R3"]
    assert len((await store.transact([], ClaimRequest("me", 5, 5))).claimed) == 1
    await store.close()


async def test_connections_that_are_cut_are_made_again(store: PostgresStore) -> None:
    conn = await connect(url_of(store))
    for number in range(3):
        await conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        await works_again(store, Commit(now=1, run=a_run(f"R{number}")))
    await conn.close()


def url_of(store: PostgresStore) -> str:
    return store._direct  # pyright: ignore[reportPrivateUsage]


async def test_a_transaction_whose_end_nobody_saw_names_its_claims(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.transact([Commit(now=1, put=(an_item("a"),))])
    write = store._write  # pyright: ignore[reportPrivateUsage]

    async def broken_off(*arguments: object) -> object:
        await write(*arguments)  # pyright: ignore[reportArgumentType]
        raise StoreError("the connection was lost")

    monkeypatch.setattr(store, "_write", broken_off)
    with pytest.raises(Unsure, match="the connection was lost") as lost:
        await store.transact([], ClaimRequest("me", 5, 5))
    monkeypatch.undo()
    assert (await store.counts()).claimed == 1
    await store.release(lost.value.claims)
    assert len((await store.transact([], ClaimRequest("me", 5, 5))).claimed) == 1


async def test_what_others_store_is_told(store: PostgresStore) -> None:
    told: list[str] = []
    other = PostgresStore(url_of(store))
    await other.open()
    store.watch(told.append)
    await until(lambda: len(told) == len(TOPICS))  # it listens: whatever was before is looked at
    told.clear()
    await other.transact([Commit(now=1, put=(an_item("a"),))])  # claimed by nobody
    await until(lambda: WORK in told)
    assert APPS not in told
    await other.save_app(AppRecord(app_id="a", url="", sdk="", checksum="", functions=b"[]", synced_at=1))
    await until(lambda: APPS in told)
    await other.close()


async def test_who_takes_all_work_tells_nobody(store: PostgresStore) -> None:
    told: list[str] = []
    store.watch(told.append)
    await until(lambda: len(told) == len(TOPICS))
    told.clear()
    for number in range(5):
        await store.transact([Commit(now=1, put=(an_item(f"k{number}"),))], ClaimRequest("me", 5, 5))
    await store.save_app(AppRecord(app_id="a", url="", sdk="", checksum="", functions=b"[]", synced_at=1))
    await until(lambda: APPS in told)
    assert told == [APPS]


async def test_of_several_hosts_the_one_that_can_be_written_to_is_found(store: PostgresStore) -> None:
    url = url_of(store).replace("@", "@127.0.0.1:1,") + "?target_session_attrs=read-write"
    other = PostgresStore(url)
    await other.open()
    assert (await other.transact([Commit(now=1, run=a_run("R1"))])).outcomes == [Outcome.APPLIED]
    await other.close()


async def test_an_empty_database_gets_its_schema_from_several_at_once() -> None:
    url = await make_database()
    stores = [PostgresStore(url, size=1) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    for store in stores:
        await store.close()
    assert await migrate(url) == (NEWEST, NEWEST)


async def test_schemas_of_other_versions_are_told() -> None:
    url = await make_database()
    await migrate(url)
    conn = await connect(url)
    await conn.execute("UPDATE stepwell.schema_version SET version = $1, oldest = $1", NEWEST + 1)
    with pytest.raises(StoreError, match="written by a newer Stepwell"):
        await PostgresStore(url).open()
    await conn.close()


async def test_places_that_are_no_database_are_told() -> None:
    url = await clean_database()
    elsewhere = re.sub(r"/[^/]*$", "/no_such_database", url)
    with pytest.raises(StoreError, match="there is no database of this name"):
        await PostgresStore(elsewhere).open()
    with pytest.raises(StoreError, match="can not be reached"):
        await PostgresStore("postgresql://u@127.0.0.1:1/x").open()
    with pytest.raises(StoreError, match=r"set STEPWELL_ENCRYPTION_KEY, `openssl rand -hex 32` makes one"):
        await open_store(url).open()


def test_migrate_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    url = asyncio.run(make_database())
    assert run(["migrate", "--db", url]) == 0
    assert capsys.readouterr().out == f"The schema has version {NEWEST} now; it had 0.\n"
    assert run(["migrate", "--db", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"before": NEWEST, "after": NEWEST, "left": 0}
    assert run(["migrate", "--db", "memory:"]) == 2
    assert "Only a PostgreSQL database is migrated by hand" in capsys.readouterr().err


def test_the_package_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "stepwell.server.store.postgres":
            raise ModuleNotFoundError("No module named 'asyncpg'", name="asyncpg")
        return real(name, *rest)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match=r"pip install 'stepwell\[postgres\]'"):
        open_store("postgresql://h/d")


async def test_arrays_that_go_as_texts_keep_every_character() -> None:
    values = ["", "NULL", "null", "a,b", '"', "\\", '\\"', "{}", "{a}", " a ", "é\U0001f642", "\n\t", "'", "$1", None]
    conn = await connect(await clean_database())
    try:
        assert await conn.fetchval("SELECT $1::text::text[]", texts(values)) == values
        assert await conn.fetchval("SELECT $1::text::text[]", texts([])) == []
        assert await conn.fetchval("SELECT $1::text::bigint[]", whole([1, None, -(2**62)])) == [1, None, -(2**62)]
    finally:
        await conn.close()


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("53100", "the disk of the database is full, nothing was saved: free some space."),
        ("XX000", "it has failed, nothing was saved: its own log says why."),  # a quota, say
        ("58030", "it can not be reached, or has broken off: check that it runs, and --db; a platform goes on trying."),
        ("57P01", "it can not be reached, or has broken off: check that it runs, and --db; a platform goes on trying."),
        ("25006", "it can only be read: it is a standby, and the primary is elsewhere."),
    ],
)
async def test_what_is_the_databases_own_trouble_is_no_fault_of_what_was_to_be_stored(
    store: PostgresStore, code: str, meaning: str
) -> None:
    conn = await connect(url_of(store))
    with pytest.raises(StoreError, match=re.escape(f"The PostgreSQL database: {meaning} (a word of it)")), explained():
        await conn.execute(f"DO $$ BEGIN RAISE EXCEPTION 'a word of it' USING ERRCODE = '{code}'; END $$")
    await conn.close()


async def test_a_user_without_special_rights_can_put_marks_in_the_log(store: PostgresStore) -> None:
    conn = await connect(url_of(store))
    async with conn.transaction():
        await conn.execute("CREATE ROLE nobody_special NOLOGIN")
        await conn.execute("SET LOCAL ROLE nobody_special")
        assert await conn.fetch(SQL.mark)
        await conn.execute("RESET ROLE")
        await conn.execute("DROP ROLE nobody_special")
    await conn.close()
