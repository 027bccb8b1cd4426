"""Lists of events, runs, jobs and apps, and re-runs asked for, against the protocol's section 1.6."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.core.model import Item, RunStatus, StoredEvent, WorkKind
from tests.server.api_fakes import NOW, FakeEngine, api_client, new_ulid
from tests.server.test_api_events import REGISTRATION

EVENT = {"internal_id", "account_id", "environment_id", "source", "source_id", "received_at", "id", "name", "data"}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


def add_events(engine: FakeEngine, count: int, name: str = "shop/paid") -> list[str]:
    """Received one a second, but their ids say the opposite; the internal ids, newest first."""
    ids = [new_ulid(count - n) for n in range(count)]
    for n, internal_id in enumerate(ids):
        body = msgspec.json.encode({"name": name, "data": {"n": n}, "user": {}, "ts": NOW, "id": f"own-{n}"})
        engine.events[internal_id] = StoredEvent(
            internal_id=internal_id, event_id=f"own-{n}", name=name, received_at=NOW + n * 1000, body=body, ts=NOW
        )
    return ids[::-1]


async def test_an_event_in_a_list_has_the_protocols_shape(engine: FakeEngine) -> None:
    (internal_id,) = add_events(engine, 1)
    async with api_client(engine) as api:
        answer = (await api.get("/v1/events")).json()
    (event,) = answer["data"]
    assert event.keys() >= EVENT
    assert (event["internal_id"], event["id"], event["data"]) == (internal_id, "own-0", {"n": 0})
    assert event["received_at"].endswith("Z")
    assert answer["metadata"]["fetched_at"]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 12), st.integers(1, 5))
async def test_pages_of_events_have_each_once(count: int, limit: int) -> None:
    engine = FakeEngine()
    ids = add_events(engine, count)
    found: list[str] = []
    cursor = ""
    async with api_client(engine) as api:
        while True:
            page = (await api.get("/v1/events", params={"limit": limit, "cursor": cursor})).json()
            found += [event["internal_id"] for event in page["data"]]
            cursor = page["metadata"]["cursor"]
            if cursor is None:
                break
    assert found == ids


async def test_events_by_name_and_time(engine: FakeEngine) -> None:
    ids = add_events(engine, 5)

    async def found(**query: object) -> list[str]:
        async with api_client(engine) as api:
            answer = await api.get("/v1/events", params=query)
        return [event["internal_id"] for event in answer.json()["data"]]

    assert await found(name="shop/paid", received_after=NOW + 1000) == ids[:3]
    assert await found(received_before="2026-11-18T11:06:42Z") == ids[3:]
    assert await found(received_after=NOW, received_before=NOW + 3000) == ids[2:4]
    assert await found(name="none") == []
    del engine.events[ids[1]]
    assert await found(cursor=ids[0]) == ids[2:], "a page begins where the last one ended"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=52", "limit=1.5", "limit=x", "cursor=x", "received_after=x", "received_before=26-1-1"]
)
async def test_what_is_not_understood_is_named(engine: FakeEngine, query: str) -> None:
    async with api_client(engine) as api:
        answer = await api.get(f"/v1/events?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(query.split("=", maxsplit=1)[0])
    assert answer.json() == {"error": answer.json()["error"], "status": 400, "data": None} | (
        {"code": "bad_id"} if "cursor" in query else {}
    )


async def test_the_default_page_has_20_events(engine: FakeEngine) -> None:
    ids = add_events(engine, 60)
    async with api_client(engine) as api:
        assert [e["internal_id"] for e in (await api.get("/v1/events")).json()["data"]] == ids[:20]
        assert len((await api.get("/v1/events?limit=51")).json()["data"]) == 51


async def test_runs_by_app_status_and_time(engine: FakeEngine) -> None:
    runs = [engine.add_run(n, RunStatus.FAILED if n % 2 else RunStatus.COMPLETED).run.run_id for n in range(1, 5)][::-1]

    async def found(**query: object) -> list[str]:
        async with api_client(engine) as api:
            answer = await api.get("/v1/runs", params=query)
        return [run["run_id"] for run in answer.json()["data"]]

    assert await found(app="app") == runs
    assert await found(app="other") == []
    assert await found(app="app", function="app-fn", status="failed") == [runs[1], runs[3]]
    assert await found(queued_after=NOW - 1) == runs
    assert await found(queued_after=NOW) == []
    assert await found(queued_before=NOW) == []
    assert await found(queued_before=NOW + 1, cursor=runs[1]) == runs[2:]
    assert await found(queued_before=NOW + 1, limit=2) == runs[:2]


async def test_jobs_of_a_run(engine: FakeEngine) -> None:
    run_id = engine.add_run().run.run_id
    engine.items[run_id] = [Item(run_id=run_id, key="step", kind=WorkKind.CALL, due_at=NOW, attempt=2)]
    async with api_client(engine) as api:
        answer = (await api.get(f"/v1/runs/{run_id}/jobs")).json()["data"]
        unknown = await api.get(f"/v1/runs/{new_ulid(99)}/jobs")
    assert answer == [
        {
            "JobID": f"{run_id}-step",
            "at": "2026-11-18T11:06:40.000Z",
            "position": 0,
            "kind": "call",
            "attempt": 2,
            "step_id": "step",
            "Raw": None,
        }
    ]
    assert (unknown.status_code, unknown.json()["code"]) == (404, "run_unknown")


async def test_apps_and_their_functions(engine: FakeEngine) -> None:
    async with api_client(engine) as api:
        assert (await api.post("/fn/register", json=REGISTRATION)).status_code == 200
        (app,) = (await api.get("/v1/apps")).json()["data"]
        functions = await api.get("/v1/apps/demo/functions")
        unknown = await api.get("/v1/apps/other/functions")
    assert (app["name"], app["sdk"], app["archived"]) == ("demo", "js:v4.24.0", True)
    assert functions.json() == []
    assert unknown.status_code == 404


async def test_a_rerun_is_asked_for(engine: FakeEngine) -> None:
    run_id = engine.add_run().run.run_id
    path = f"/v1/runs/{run_id}/rerun"
    async with api_client(engine) as api:
        plain = await api.post(path)
        edited = await api.post(path, json={"from_step": "s", "input": [{"n": 1}]})
        refused = await api.post(path, json={"from_step": "none"})
        unknown = await api.post(f"/v1/runs/{new_ulid(99)}/rerun")
        wrong = [await api.post(path, content=body) for body in (b"[]", b"{", b'{"input":1}', b'{"step":"s"}', b"\xff")]
    assert plain.status_code == edited.status_code == 201
    assert plain.json()["data"] == {"run_id": new_ulid(999), "original_run_id": run_id}
    assert engine.reruns == [(run_id, None, None), (run_id, "s", [{"n": 1}])]
    assert (refused.status_code, refused.json()["error"]) == (409, "The run has no step 'none'.")
    assert unknown.status_code == 404
    assert [(answer.status_code, answer.json()["status"]) for answer in wrong] == [(400, 400)] * len(wrong)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/e/key", "POST"), ("PUT", f"/v1/checkpoint/{new_ulid(1)}/async", "POST"), ("POST", "/v1/events", "GET")],
)
async def test_another_method_is_a_405_that_says_which(
    engine: FakeEngine, method: str, path: str, allowed: str
) -> None:
    async with api_client(engine) as api:
        answer = await api.request(method, path)
    assert answer.status_code == 405
    assert allowed in answer.headers["allow"]
    assert answer.json()["error"]


async def test_head_and_options(engine: FakeEngine) -> None:
    """HEAD as GET without a body; any origin may ask anything, without credentials."""
    run_id = engine.add_run().run.run_id
    async with api_client(engine) as api:
        head = await api.head(f"/v1/runs/{run_id}")
        body = await api.get(f"/v1/runs/{run_id}")
        asked = {"Origin": "http://a", "Access-Control-Request-Headers": "x-a, authorization"}
        options = await api.options("/v1/runs", headers=asked)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == body.headers["content-type"] == "application/json"
    assert options.status_code == 204
    assert options.headers["access-control-allow-headers"] == "x-a, authorization"
    assert "DELETE" in options.headers["access-control-allow-methods"]
    for answer in (head, body, options):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
        assert answer.headers["x-inngest-server-kind"] == "dev"
