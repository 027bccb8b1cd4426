"""``/v1/functions``: the list, pause, resume, and what else of the API knows of a pause."""

import httpx2
import pytest

from stepwell.core.model import RunStatus
from stepwell.server.settings import Settings
from stepwell.wire.functions import parse_registration
from tests.server.api_fakes import NOW, SIGNING_KEY, FakeEngine, api_client
from tests.server.test_crons import app

CLOUD = Settings(kind="cloud", signing_key=SIGNING_KEY, event_keys=("k1",))


@pytest.fixture
async def engine() -> FakeEngine:
    engine = FakeEngine()
    await engine.register(parse_registration(app({"event": "x"})))
    return engine


async def test_pause_says_what_becomes_of_events_and_of_runs(engine: FakeEngine) -> None:
    async with api_client(engine) as http:
        answer = await http.post("/v1/functions/a-f/pause")
        said = answer.json()["data"]
        assert (answer.status_code, said["id"], said["paused"]) == (200, "a-f", True)
        assert said["paused_at"].startswith("20")
        assert "skipped run" in said["message"]
        assert "go on" in said["message"]
        assert not engine.pausing.cancelling
        said = (await http.post("/v1/functions/a-f/pause", json={"cancel_running": True})).json()["data"]
        assert "cancelled" in said["message"]
        assert len(said["cancellation_id"]) == 26
        assert engine.pausing.cancelling


async def test_resume_is_well_also_where_nothing_was_paused(engine: FakeEngine) -> None:
    engine.pausing.since_when["a-f"] = NOW
    async with api_client(engine) as http:
        said = (await http.post("/v1/functions/a-f/resume")).json()["data"]
        assert said == {
            "id": "a-f",
            "paused": False,
            "paused_at": None,
            "message": "Events start runs of it again.",
        }
        again = (await http.post("/v1/functions/a-f/resume")).json()["data"]
        assert again["message"] == "It was not paused."


async def test_one_that_is_gone_can_still_be_resumed(engine: FakeEngine) -> None:
    engine.pausing.since_when["gone-f"] = NOW
    async with api_client(engine) as http:
        assert (await http.post("/v1/functions/gone-f/resume")).status_code == 200
        assert (await http.post("/v1/functions/gone-f/resume")).status_code == 404
        assert (await http.post("/v1/functions/gone-f/pause")).json()["code"] == "function_unknown"


@pytest.mark.parametrize("body", [b"[1]", b"{", b'{"cancel_running": "yes"}', b"\xff"])
async def test_a_body_that_is_none_is_refused_and_pauses_nothing(engine: FakeEngine, body: bytes) -> None:
    async with api_client(engine) as http:
        answer = await http.post("/v1/functions/a-f/pause", content=body)
        assert (answer.status_code, engine.pausing.since_when) == (400, {})
        assert "cancel_running" in answer.json()["error"]


async def test_a_paused_function_is_not_invoked(engine: FakeEngine) -> None:
    engine.pausing.since_when["a-f"] = NOW
    async with api_client(engine) as http:
        answer = await http.post("/invoke/a-f", json={"data": {}})
        assert (answer.status_code, answer.json()["code"]) == (409, "function_paused")
        assert "a-f is paused" in answer.json()["error"]
        assert engine.events == {}


async def test_a_skipped_run_says_why(engine: FakeEngine) -> None:
    run = engine.add_run(1, RunStatus.SKIPPED, skipped="paused").run
    async with api_client(engine) as http:
        assert (await http.get(f"/v1/runs/{run.run_id}")).json()["data"]["skip_reason"] == "paused"


@pytest.mark.parametrize("path", ["/v1/functions", "/v1/functions/a-f/pause", "/v1/functions/a-f/resume"])
async def test_a_key_is_asked_for(engine: FakeEngine, path: str) -> None:
    async with api_client(engine, CLOUD) as http:
        ask = http.get if path == "/v1/functions" else http.post
        answer: httpx2.Response = await ask(path)
        assert (answer.status_code, engine.pausing.since_when) == (401, {})
