"""A database that does not answer, or not for all: who asks is told in time, and nothing is confirmed that could be lost."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from stepwell.core.model import StoredEvent
from stepwell.core.outputs import Commit
from stepwell.server.store.base import Outcome, StoreError, Unsure
from stepwell.server.store.postgres import PostgresStore
from stepwell.server.store.postgres.connect import connect, hosts_of
from stepwell.testing.platform.postgres import PostgresServer
from stepwell.testing.platform.store_conformance import a_run
from tests.e2e.ugly import Call, api, bare, finish, returned, until
from tests.faults.cluster import Cluster, cluster

CONNECT = "stepwell.server.store.postgres.connect"
EVENT = StoredEvent(internal_id="E1", event_id="e1", name="go", received_at=1, body=b"{}", ts=1)
CANCEL = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
A_RUN, AN_EVENT = Commit(now=1, run=a_run("R1")), Commit(now=1, events=(EVENT,))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in production, and sooner."""
    for name, seconds in {"CONNECT_S": 4.0, "COMMAND_S": 1.0, "_CUT_S": 1.0, "_READ_S": 1.0}.items():
        monkeypatch.setattr(f"{CONNECT}.{name}", seconds)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
async def database() -> AsyncIterator[Cluster]:
    async with cluster() as made:
        yield made


async def works(store: PostgresStore, run_id: str) -> None:
    async def applied() -> bool:
        try:
            outcomes = (await store.transact([Commit(now=1, run=a_run(run_id))])).outcomes
        except StoreError:
            return False
        return outcomes in ([Outcome.APPLIED], [Outcome.CONFLICT])

    await until(applied, 40)


async def test_a_database_that_stands_still_is_given_up_and_found_again(server: PostgresServer) -> None:
    store = PostgresStore(server.url)
    await store.open()
    server.signal(signal.SIGSTOP)
    try:
        with pytest.raises(StoreError, match="no answer in time"):
            await store.transact([Commit(now=1, run=a_run("R1"))])
        with pytest.raises(StoreError):
            await store.load_runs(["R1"])
    finally:
        server.signal(signal.SIGCONT)
    await works(store, "R2")
    await store.close()


async def test_the_api_answers_in_time_when_the_database_does_not(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell.server.runtime.committer.ANSWER_S", 1.0)

    async def answer(call: Call, request: web.Request) -> web.StreamResponse:
        return returned("done")

    async with bare(tmp_path, answer, db=server.url, encryption_keys=("11" * 32,)) as rig:
        server.signal(signal.SIGSTOP)
        try:
            said = [await api(rig.platform, "POST", "/e/key", json={"name": "go", "id": f"e{n}"}) for n in range(2)]
        finally:
            server.signal(signal.SIGCONT)
        assert [(status, headers.get("retry-after")) for status, headers, _ in said] == [(503, "1")] * 2
        assert all("The store has not answered within" in body["error"] for _, _, body in said)

        async def sent() -> bool:
            found = [await api(rig.platform, "POST", "/e/key", json={"name": "go", "id": f"e{n}"}) for n in range(2)]
            ids.extend(body["ids"] for status, _, body in found if status == 200)
            return len(ids) >= 2

        ids: list[list[str]] = []
        await until(sent, 40)
        found = (await api(rig.platform, "GET", "/v1/runs"))[2]["data"]
        runs = [run for run in found if run["function"] == "bare-f"]  # the database has seen other tests
        assert len(runs) == 2, "one for each event id, however often it was sent"
        for run in runs:
            assert (await finish(rig.platform, run["event_id"], 40)).output == "done"


async def test_nothing_is_confirmed_that_the_standby_lacks(database: Cluster) -> None:
    """The transactions are committed on the primary alone. Who asks again must not hear that all is stored: it can be lost."""
    store = PostgresStore(database.url)
    await store.open()
    database.standby.signal(signal.SIGSTOP)
    for commit in (A_RUN, AN_EVENT):
        for _ in range(2):
            with pytest.raises(Unsure):
                await store.transact([commit])
    assert await store.load_runs(["R1"])
    assert await store.get_event("E1") is not None
    with pytest.raises(Unsure):
        await store.transact([Commit(now=1)])
    database.standby.signal(signal.SIGCONT)
    await works(store, "R2")
    assert (await store.transact([A_RUN, AN_EVENT])).outcomes == [Outcome.CONFLICT, Outcome.APPLIED]
    await store.close()


async def test_a_commit_that_does_not_wait_for_the_standby_to_the_end_is_not_confirmed(
    database: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL calls it a success, with a warning, when somebody cancels the wait."""
    monkeypatch.setattr(f"{CONNECT}.COMMAND_S", 50.0)
    store = PostgresStore(database.url)
    await store.open()
    database.standby.signal(signal.SIGSTOP)
    storing = asyncio.create_task(store.transact([A_RUN]))
    admin = await connect(database.primary.url)

    async def cancelled() -> bool:
        return bool(await admin.fetch(CANCEL))

    await until(cancelled, 30)
    with pytest.raises(Unsure, match="no synchronous standby has confirmed it"):
        await storing
    await admin.close()
    database.standby.signal(signal.SIGCONT)
    await works(store, "R2")
    await store.close()


async def test_a_host_that_says_nothing_does_not_keep_from_the_next(server: PostgresServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mine = f"127.0.0.1:{mute.getsockname()[1]},127.0.0.1:{server.port}"
        store = PostgresStore(f"postgresql://stepwell@{mine}/postgres?target_session_attrs=read-write")
        await store.open()
        await works(store, "R3")
        await store.close()


def test_each_host_of_a_url_has_one_of_its_own() -> None:
    assert hosts_of("postgresql://u:p@a,b:2,[::1]:3/db?x=a,b") == [
        "postgresql://u:p@a/db?x=a,b",
        "postgresql://u:p@b:2/db?x=a,b",
        "postgresql://u:p@[::1]:3/db?x=a,b",
    ]
    assert hosts_of("postgresql:///db") == ["postgresql:///db"]
    assert hosts_of("postgresql://a,b?user=c") == ["postgresql://a?user=c", "postgresql://b?user=c"]
