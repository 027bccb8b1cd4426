"""Runs by text and expression, over the API: on every store, bounded, with a cursor, and with what is wrong in words."""

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from stepwell.cli.offline import OfflineEngine
from stepwell.core.model import Run, RunStatus, StoredEvent
from stepwell.core.outputs import Commit
from stepwell.core.runfilters import RunFilter
from stepwell.server.api import search as searching
from stepwell.server.api.app import create_app
from stepwell.server.settings import Settings
from stepwell.server.store.base import Store
from stepwell.server.store.memory import MemoryStore
from stepwell.server.store.postgres import PostgresStore
from stepwell.server.store.sqlite import SQLiteStore
from stepwell.testing.platform.postgres import clean_database
from stepwell.wire.builtins import FETCH_EVENT
from tests.server.api_fakes import NOW, FakeEngine, api_client, new_ulid

COUNT = 250


def commit(number: int) -> Commit:
    event_id, body = new_ulid(number + 10_000), {"name": "paid", "data": {"order": number, "odd": number % 2 == 1}}
    event = StoredEvent(
        internal_id=event_id, event_id=event_id, name="paid", received_at=NOW, body=msgspec.json.encode(body)
    )
    run = Run(
        run_id=new_ulid(number),
        function_id="shop-pay",
        app_id="shop",
        status=RunStatus.COMPLETED,
        event_ids=(event_id,),
        queued_at=NOW,
        started_at=NOW,
        ended_at=NOW + number,
        steps=number % 5,
        output=msgspec.json.encode({"lamp": "green" if number == 3 else "red"}),
    )
    return Commit(now=NOW, run=run, events=(event,))


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made = {
        "memory": MemoryStore,
        "sqlite": lambda: SQLiteStore(tmp_path / "s.db"),
    }
    store = PostgresStore(await clean_database()) if request.param == "postgresql" else made[request.param]()
    await store.open()
    await store.transact([commit(number) for number in range(COUNT)])
    yield store
    await store.close()


@pytest.fixture
async def api(store: Store) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(create_app(OfflineEngine(store), Settings(), lambda: NOW))
    async with httpx2.AsyncClient(transport=transport, base_url="http://stepwell") as made:
        yield made


async def test_runs_by_expression_and_text(api: httpx2.AsyncClient) -> None:
    async def found(**query: object) -> list[str]:
        answer = await api.get("/v1/runs", params={"limit": 1000, **query})
        return [run["run_id"] for run in answer.raise_for_status().json()["data"]]

    assert await found(where="event.data.order == 7") == [new_ulid(7)]
    assert await found(where="event.data.odd && run.duration_ms < 4") == [new_ulid(3), new_ulid(1)]
    assert await found(where="run.output.lamp == 'green'") == [new_ulid(3)]
    assert await found(text="GREEN") == [new_ulid(3)]
    assert await found(text="green", where="run.steps == 0") == []
    assert await found(where="run.steps == 4", status="completed", function="shop-pay", limit=2) == [
        new_ulid(249),
        new_ulid(244),
    ]
    assert await found(where="run.steps == 4", status="failed") == []


async def test_pages_of_a_search_have_each_once(api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a page ends because it is full, or because enough runs were looked at."""
    monkeypatch.setattr(searching, "LOOKED_AT", 100)
    found: list[str] = []
    query = {"where": "event.data.order < 3 || event.data.order in [240, 241, 242]", "limit": "2"}
    looked_at = 0
    while True:
        page = (await api.get("/v1/runs", params=query)).raise_for_status().json()
        assert len(page["data"]) <= 2
        assert page["metadata"]["looked_at"] <= 100
        looked_at += page["metadata"]["looked_at"]
        found += [run["run_id"] for run in page["data"]]
        if page["metadata"]["cursor"] is None:
            break
        query["cursor"] = page["metadata"]["cursor"]
    assert found == [new_ulid(number) for number in (242, 241, 240, 2, 1, 0)]
    assert looked_at == COUNT


async def test_a_text_is_found_as_people_see_it(store: Store, api: httpx2.AsyncClient) -> None:
    """Not as JSON escapes it, in either way."""
    ended = commit(COUNT)
    assert ended.run is not None
    output = rb'{"said":"open \"the\" door","path":"C:\\temp","city":"Z\u00fcrich"}'
    await store.transact([msgspec.structs.replace(ended, run=msgspec.structs.replace(ended.run, output=output))])
    for text in ('"the" door', "C:\\temp", "ZÜRICH", '"said": "open', '\\"the\\" door'):
        answer = await api.get("/v1/runs", params={"text": text})
        assert [run["run_id"] for run in answer.raise_for_status().json()["data"]] == [new_ulid(COUNT)], text


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.mark.parametrize(
    ("where", "said"),
    [("event.data.n ==", "The expression can not be used"), ("run.stat == 1", "a run has no field 'stat'; it has id")],
)
async def test_what_is_wrong_with_an_expression_is_a_400(engine: FakeEngine, where: str, said: str) -> None:
    async with api_client(engine) as api:
        answer = await api.get("/v1/runs", params={"where": where})
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert answer.json()["code"] == "bad_expression"


async def test_a_search_ends_by_its_bytes(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "_BYTES", 10_000)
    for number in range(1, 301):
        engine.add_run(number, RunStatus.COMPLETED, output=b'"' + b"x" * 200 + b'"')
    async with api_client(engine) as api:
        page = (await api.get("/v1/runs", params={"text": "none of them"})).json()
    assert page["data"] == []
    assert page["metadata"]["looked_at"] == 100
    assert page["metadata"]["cursor"] == new_ulid(201)


async def test_a_search_ends_by_its_time_and_still_gets_on(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expression that takes long for each run: one at least is looked at for each request."""
    monkeypatch.setattr(searching, "_LONGEST_S", -1.0)
    for number in range(1, 4):
        engine.add_run(number)
    cursors: list[str | None] = [""]
    async with api_client(engine) as api:
        while cursors[-1] is not None:
            query = {"where": "event.data.n == 9", "cursor": cursors[-1]}
            metadata = (await api.get("/v1/runs", params=query)).json()["metadata"]
            cursors.append(metadata["cursor"])
    assert cursors[1:] == [new_ulid(3), new_ulid(2), None]


async def test_an_expression_does_not_find_out_what_is_masked(engine: FakeEngine) -> None:
    view = engine.add_run()
    data = {"url": "https://h.example/", "headers": [["authorization", "Bearer hush"]]}
    event_id = view.run.event_ids[0]
    body = msgspec.json.encode({"name": FETCH_EVENT, "data": data})
    engine.events[event_id] = msgspec.structs.replace(engine.events[event_id], body=body)
    async with api_client(engine) as api:

        async def found(where: str) -> int:
            return len((await api.get("/v1/runs", params={"where": where})).raise_for_status().json()["data"])

        assert await found("event.data.headers[0][0] == 'authorization'") == 1
        assert await found("event.data.headers[0][1].startsWith('Bearer')") == 0


async def test_other_requests_are_answered_while_a_search_goes_on(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expressions are evaluated beside the loop."""
    threads: set[threading.Thread] = set()
    passes = RunFilter.passes

    def noted(self: RunFilter, *args: Any) -> bool:
        threads.add(threading.current_thread())
        return passes(self, *args)

    monkeypatch.setattr(RunFilter, "passes", noted)
    engine.add_run()
    async with api_client(engine) as api:
        assert (await api.get("/v1/runs?where=event.data.n == 1")).json()["data"]
    assert threads
    assert threading.main_thread() not in threads
