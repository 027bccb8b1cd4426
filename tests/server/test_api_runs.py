"""Reading, checkpointing and cancelling runs, against the protocol's sections 1.4, 1.6 and 1.8."""

import msgspec
import pytest

from stepwell.core.model import RunStatus, StepStatus, StoredEvent
from stepwell.server.api import masks
from stepwell.server.settings import Settings
from stepwell.wire.builtins import FETCH_EVENT
from stepwell.wire.masks import mask_url
from tests.server.api_fakes import NOW, SIGNING_KEY, FakeEngine, api_client, attempt, finished_step, new_ulid

CLOUD = Settings(kind="cloud", signing_key=SIGNING_KEY, event_keys=("k1",))
READS = [
    "/v1/runs",
    "/v1/runs/{run}",
    "/v1/runs/{run}/steps",
    "/v1/runs/{run}/jobs",
    "/v1/apps",
    "/v1/apps/a/functions",
    "/v1/workers",
    "/v1/events",
    "/v0/runs/{run}/actions",
    "/v0/runs/{run}/batch",
    "/v1/events/{run}",
    "/v1/events/{run}/runs",
    "/v1/bodies/ref",
]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


async def test_a_run_in_the_protocols_shape(engine: FakeEngine) -> None:
    view = engine.add_run(status=RunStatus.COMPLETED, output=b'{"n":1}', started_at=NOW + 1, ended_at=NOW + 1500)
    async with api_client(engine) as api:
        answer = (await api.get(f"/v1/runs/{view.run.run_id}")).json()
    run = answer["data"]
    assert answer["metadata"]["fetched_at"]
    assert run["run_id"] == view.run.run_id
    assert run["status"] == "Completed"
    assert run["output"] == {"n": 1}
    assert run["run_started_at"].endswith("001Z")
    assert run["function"] == "app-fn"
    assert run["event_id"] == view.run.event_ids[0]


async def test_waiting_for_the_end_of_a_run(engine: FakeEngine) -> None:
    run_id = engine.add_run().run.run_id
    async with api_client(engine) as api:
        assert (await api.get(f"/v1/runs/{run_id}?wait=2.5")).status_code == 200
        assert (await api.get(f"/v1/runs/{run_id}?wait=1e9")).status_code == 400
        assert (await api.get(f"/v1/runs/{run_id}?wait=nan")).status_code == 400
        assert (await api.get(f"/v1/runs/{new_ulid(99)}?wait=1")).status_code == 404
    assert engine.waited == [2.5, 1.0]


async def test_steps_in_order_with_everything_about_them(engine: FakeEngine) -> None:
    view = engine.add_run()
    run_id = view.run.run_id
    tries = (
        attempt(0, status=503, delay_ms=1000, reason="Retry-After"),
        attempt(1, status=200, phases={"dns": 1.5}, size=7),
    )
    memo = b'{"data":{"status":200,"url":"u","headers":[["Set-Cookie","secret"],["A","b"]],"text":"hi"}}'
    steps = [
        finished_step(run_id, 2, op="Sleep", memo=b"null"),
        finished_step(run_id, 1, op="StepRun", memo=b'{"error":{"message":"no"}}', status=StepStatus.FAILED),
        finished_step(run_id, 0, op="Gateway", memo=memo, attempts=tries, info=b'{"method":"GET","url":"http://u"}'),
        finished_step(run_id, 3, op="WaitForEvent", memo=b'{"name":"x","data":{"a":1}}'),
        finished_step(run_id, 4, op="StepPlanned", memo=None, status=StepStatus.PLANNED, position=None, ended_at=None),
    ]
    view.steps = {step.step_id: step for step in steps}
    async with api_client(engine) as api:
        found = (await api.get(f"/v1/runs/{run_id}/steps")).json()
        bare = (await api.get(f"/v1/runs/{run_id}/steps?outputs=false")).json()["data"]
    data = found["data"]
    assert [step["number"] for step in data] == [0, 1, 2, 3, 4]
    assert data[0]["output"]["headers"] == [["Set-Cookie", "***"], ["A", "b"]]
    assert data[0]["output"]["text"] == "hi"
    assert data[0]["info"]["method"] == "GET"
    assert [a.get("status") for a in data[0]["attempts"]] == [503, 200]
    assert data[0]["attempts"][0]["reason"] == "Retry-After"
    assert data[0]["attempts"][1]["phases"] == {"dns": 1.5}
    assert data[0]["attempts"][1]["size"] == 7
    assert "size" not in data[0]["attempts"][0]
    assert data[0]["attempts"][0]["duration_ms"] == 12
    assert data[1]["error"] == {"message": "no"}
    assert "output" not in data[1]
    assert data[2]["output"] is None
    assert data[3]["output"]["name"] == "x"
    assert "output" not in data[4]
    assert data[4]["status"] == "Planned"
    assert found["metadata"]["run"]["run_id"] == run_id
    assert "output" not in bare[0]
    assert "error" in bare[1]


def test_masks_cover_every_form_of_headers() -> None:
    shape = {
        "headers": {"Set-Cookie": "s", "X": "y"},
        "history": [{"status": 302, "url": "u", "headers": [["set-cookie", "s"]]}],
    }
    shown = msgspec.json.decode(masks.mask_gateway(msgspec.Raw(msgspec.json.encode(shape))))
    assert shown["headers"] == {"Set-Cookie": "***", "X": "y"}
    assert shown["history"][0]["headers"] == [["set-cookie", "***"]]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:s3cret@h/p?q=1", "https://***@h/p?q=1"),
        ("https://h/p?q=a@b&token=s3cret#x", "https://h/p?q=a@b&token=***#x"),
        ("https://h/a@b?u=https://c", "https://h/a@b?u=https://c"),
        ("https://h/p?clientSecret=s3cret&page=2", "https://h/p?clientSecret=***&page=2"),
        ("https://h/p?user[token]=s3cret&api%5Fkey=s3cret", "https://h/p?user[token]=***&api%5Fkey=***"),
    ],
)
def test_masks_of_urls(url: str, shown: str) -> None:
    assert mask_url(url) == shown
    headers = {"Link": f"<{url}>; rel=next", "Operation-Location": url}
    masked = msgspec.json.decode(masks.mask_gateway(msgspec.Raw(msgspec.json.encode({"headers": headers}))))
    assert masked["headers"]["Operation-Location"] == shown
    assert "s3cret" not in masked["headers"]["Link"]


def test_an_event_about_a_shell_fetch_is_masked_too() -> None:
    inner: dict[str, object] = {
        "name": FETCH_EVENT,
        "data": {"url": "https://h/", "headers": [["X-Api-Key", "s3cret"]]},
    }
    about: dict[str, object] = {
        "name": "inngest/function.failed",
        "data": {"event": inner, "events": [inner, 1], "n": 1},
    }
    shown = masks.mask_event(about)
    assert b"s3cret" not in msgspec.json.encode(shown)
    assert b"s3cret" in msgspec.json.encode(about)
    other: dict[str, object] = {"name": "mine", "data": {"event": inner}}
    assert masks.mask_event(other) is other


async def test_the_state_of_a_run_for_its_app_is_exact(engine: FakeEngine) -> None:
    view = engine.add_run()
    for number in (1, 0):
        memo = b'{"data":{"headers":[["Set-Cookie","kept"]],"n": %d }}' % number
        view.apply(view.run, [finished_step(view.run.run_id, number, memo=memo, position=len(view.stack))])
    async with api_client(engine) as api:
        actions = await api.get(f"/v0/runs/{view.run.run_id}/actions")
        batch = await api.get(f"/v0/runs/{view.run.run_id}/batch")
        gone = await api.get(f"/v0/runs/{new_ulid(77)}/actions")
    assert list(actions.json()) == view.stack
    assert actions.json()[f"{1:040x}"] == {"data": {"headers": [["Set-Cookie", "kept"]], "n": 1}}
    assert [event["data"] for event in batch.json()] == [{"n": 1}]
    assert gone.status_code == 410


async def test_lists_go_page_by_page(engine: FakeEngine) -> None:
    for number in range(1, 6):
        engine.add_run(number, RunStatus.FAILED if number == 3 else RunStatus.COMPLETED)
    seen: list[str] = []
    cursor = ""
    async with api_client(engine) as api:
        while cursor is not None:
            answer = (await api.get(f"/v1/runs?limit=2&cursor={cursor}")).json()
            seen += [run["run_id"] for run in answer["data"]]
            cursor = answer["metadata"]["cursor"]
        failed = (await api.get("/v1/runs?status=Failed")).json()["data"]
        wrong = [await api.get(f"/v1/runs?{q}") for q in ("status=odd", "limit=0", "limit=x", "cursor=1")]
    assert seen == sorted(engine.views, reverse=True)
    assert [run["status"] for run in failed] == ["Failed"]
    assert {response.status_code for response in wrong} == {400}


async def test_events_and_their_runs(engine: FakeEngine) -> None:
    view = engine.add_run()
    event_id = view.run.event_ids[0]
    async with api_client(engine) as api:
        event = (await api.get(f"/v1/events/{event_id}")).json()["data"]
        runs = (await api.get(f"/v1/events/{event_id}/runs")).json()["data"]
        unknown = [await api.get(f"/v1/events/{new_ulid(5)}{tail}") for tail in ("", "/runs")]
    assert event["internal_id"] == event["id"] == event_id
    assert event["data"] == {"n": 1}
    assert [run["run_id"] for run in runs] == [view.run.run_id]
    assert {response.status_code for response in unknown} == {404}


async def test_request_headers_of_a_shell_fetch_are_masked(engine: FakeEngine) -> None:
    data = {"url": "http://u", "headers": [["Authorization", "Bearer s3cret"], ["A", "b"]]}
    body = msgspec.json.encode({"id": "x", "name": FETCH_EVENT, "data": data})
    event_id = new_ulid(1)
    engine.events[event_id] = StoredEvent(
        internal_id=event_id, event_id="x", name=FETCH_EVENT, received_at=NOW, body=body
    )
    async with api_client(engine) as api:
        response = await api.get(f"/v1/events/{event_id}")
    assert "s3cret" not in response.text
    assert response.json()["data"]["data"]["headers"] == [["Authorization", "***"], ["A", "b"]]


async def test_cancelling(engine: FakeEngine) -> None:
    running = engine.add_run(1).run.run_id
    done = engine.add_run(2, RunStatus.COMPLETED).run.run_id
    async with api_client(engine) as api:
        assert (await api.delete(f"/v1/runs/{running}")).status_code == 200
        assert (await api.delete(f"/v1/runs/{running}")).status_code == 200
        assert (await api.delete(f"/v0/runs/{running}")).status_code == 204
        assert (await api.delete(f"/v1/runs/{done}")).status_code == 409
        assert (await api.delete(f"/v1/runs/{new_ulid(9)}")).status_code == 404
    assert engine.views[running].run.status is RunStatus.CANCELLED


@pytest.mark.parametrize("path", [path for path in READS if "{run}" in path])
async def test_what_is_no_ulid_is_a_400(engine: FakeEngine, path: str) -> None:
    async with api_client(engine) as api:
        response = await api.get(path.format(run="nonsense"))
    assert response.status_code == response.json()["status"] == 400
    assert "ULID" in response.json()["error"]


@pytest.mark.parametrize("path", READS)
async def test_reading_needs_the_signing_key_in_production(engine: FakeEngine, path: str) -> None:
    engine.bodies["ref"] = b"x"
    run_id = engine.add_run().run.run_id
    async with api_client(engine, CLOUD) as api:
        refused = await api.get(path.format(run=run_id))
        asked = await api.get(path.format(run=run_id), headers={"authorization": f"Bearer {SIGNING_KEY}"})
    assert refused.status_code == 401
    assert asked.status_code in (200, 404)


async def test_bodies_whole_and_in_ranges(engine: FakeEngine) -> None:
    data = bytes(range(256)) * 10_000
    engine.bodies["01A/b"] = data
    async with api_client(engine) as api:
        whole = await api.get("/v1/bodies/01A/b")
        part = await api.get("/v1/bodies/01A/b", headers={"range": "bytes=10-19"})
        long = await api.get("/v1/bodies/01A/b", headers={"range": "bytes=5-"})
        behind = await api.get("/v1/bodies/01A/b", headers={"range": f"bytes={len(data)}-"})
        odd = await api.get("/v1/bodies/01A/b", headers={"range": "bytes=9-3"})
        unknown = await api.get("/v1/bodies/none")
    assert whole.content == odd.content == data
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, data[10:20], "bytes 10-19/*")
    assert (long.status_code, long.content) == (206, data[5:])
    assert (behind.status_code, unknown.status_code) == (416, 404)


STEP = {"op": "StepRun", "id": "a" * 40, "name": "a", "data": {"x": [1]}, "opts": {}, "rawArgs": [1], "mode": "async"}


@pytest.mark.parametrize("prefix", ["/v1/checkpoint", "/v1/http/runs"])
async def test_checkpoints_reach_the_engine(engine: FakeEngine, prefix: str) -> None:
    run_id = new_ulid(1)
    report = {"run_id": run_id, "fn_id": "f", "qi_id": "q", "generation_id": 3, "steps": [STEP], "ts": 1}
    async with api_client(engine) as api:
        response = await api.post(f"{prefix}/{run_id}/async", json=report)
    assert response.status_code == 200
    (called, ops, generation), *_ = engine.checkpoints
    assert (called, generation) == (run_id, 3)
    assert msgspec.json.decode(ops[0].data or b"") == {"x": [1]}


@pytest.mark.parametrize(
    ("answer", "change", "status"),
    [
        ("stale", {}, 409),
        ("unknown", {}, 404),
        ("ok", {"steps": [{**STEP, "op": "Sleep"}]}, 400),
        ("ok", {"steps": [{**STEP, "op": "Nonsense"}]}, 400),
        ("ok", {"steps": [{**STEP, "id": ""}]}, 400),
        ("ok", {"steps": 5}, 400),
        ("ok", {"run_id": new_ulid(2)}, 400),
        ("ok", {"steps": [{**STEP, "data": "x" * (4 << 20)}]}, 413),
    ],
)
async def test_checkpoints_that_can_not_be_taken(
    engine: FakeEngine, answer: str, change: dict[str, object], status: int
) -> None:
    engine.checkpoint_answer = answer
    run_id = new_ulid(1)
    async with api_client(engine) as api:
        response = await api.post(f"/v1/checkpoint/{run_id}/async", json={"run_id": run_id, "steps": [STEP], **change})
    assert response.status_code == response.json()["status"] == status
    assert bool(engine.checkpoints) == (status in (404, 409))


async def test_a_checkpoint_with_a_bad_run_id_or_no_key(engine: FakeEngine) -> None:
    async with api_client(engine) as api:
        assert (await api.post("/v1/checkpoint/x/async", json={})).status_code == 400
    async with api_client(engine, CLOUD) as api:
        assert (await api.post(f"/v1/checkpoint/{new_ulid(1)}/async", json={})).status_code == 401


async def test_health_and_dev(engine: FakeEngine) -> None:
    engine.add_run()
    async with api_client(engine) as api:
        health = (await api.get("/health")).json()
        dev = await api.get("/dev")
    async with api_client(engine, CLOUD) as api:
        quiet = (await api.get("/health")).json()
        hidden = await api.get("/dev")
    assert (health["status"], health["product"], health["runs"]) == (200, "stepwell", {"running": 1})
    assert dev.json()["kind"] == "dev"
    assert "runs" not in quiet
    assert hidden.status_code == 404


async def test_unknown_paths_and_methods_answer_in_json(engine: FakeEngine) -> None:
    async with api_client(engine) as api:
        nowhere = await api.get("/nowhere")
        wrong = await api.put("/v1/runs")
    assert (nowhere.status_code, nowhere.json()["status"]) == (404, 404)
    assert (wrong.status_code, wrong.json()["status"]) == (405, 405)
    assert "GET" in wrong.headers["allow"]
    assert nowhere.headers["x-inngest-server-kind"] == "dev"


async def test_a_defect_is_a_500_without_its_text(engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_query: object) -> list[object]:
        raise RuntimeError("inner secret")

    engine.runs = fail  # type: ignore[method-assign,assignment]
    async with api_client(engine) as api:
        response = await api.get("/v1/runs")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "inner secret" in caplog.text
