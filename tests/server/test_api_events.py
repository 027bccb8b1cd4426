"""POST /e/{key} and registration, against the protocol's sections 1.2 and 1.3."""

import pytest

from stepwell.server.settings import Settings
from stepwell.wire.constants import MAX_REQUEST_BYTES
from tests.server.api_fakes import SIGNING_KEY, FakeEngine, api_client

CLOUD = Settings(kind="cloud", signing_key=SIGNING_KEY, event_keys=("k1", "k2"))
REGISTRATION = {
    "url": "http://127.0.0.1:3000/api/inngest",
    "deployType": "ping",
    "appName": "demo",
    "sdk": "js:v4.24.0",
    "v": "0.1",
    "framework": "nodejs",
    "functions": [
        {
            "id": "demo-hello",
            "name": "hello",
            "triggers": [{"event": "demo/hello"}],
            "steps": {
                "step": {
                    "id": "step",
                    "name": "step",
                    "runtime": {"type": "http", "url": "http://127.0.0.1:3000/api/inngest?fnId=demo-hello&stepId=step"},
                }
            },
        }
    ],
}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


async def test_events_get_internal_ids_in_order(engine: FakeEngine) -> None:
    async with api_client(engine) as api:
        response = await api.post("/e/any", json=[{"name": "a", "data": {"n": 1}, "id": "mine"}, {"name": "b"}])
    assert response.status_code == 200
    answer = response.json()
    assert answer["status"] == 200
    assert [engine.events[i].name for i in answer["ids"]] == ["a", "b"]
    assert engine.events[answer["ids"][0]].event_id == "mine"
    assert engine.events[answer["ids"][1]].event_id == answer["ids"][1]
    assert response.headers["x-inngest-server-kind"] == "dev"
    assert response.headers["access-control-allow-origin"] == "*"


async def test_a_single_object_and_an_empty_body(engine: FakeEngine) -> None:
    async with api_client(engine) as api:
        assert len((await api.post("/e/x", json={"name": "a"})).json()["ids"]) == 1
        assert (await api.post("/e/x", content=b"")).json() == {"ids": [], "status": 200}
        assert (await api.post("/e/x", json=[])).json() == {"ids": [], "status": 200}


async def test_the_seed_header_fixes_the_ids(engine: FakeEngine) -> None:
    seed = {"x-inngest-event-id-seed": "1743130137367,eii2YKXRVTJPuA=="}
    async with api_client(engine) as api:
        first = (await api.post("/e/x", json=[{"name": "a"}, {"name": "a"}], headers=seed)).json()["ids"]
        again = (await api.post("/e/x", json=[{"name": "a"}, {"name": "a"}], headers=seed)).json()["ids"]
    assert first == again == ["01JQDAE4RQF8MBCR55T5AK4KXS", "01JQDAE4RQF8MBCR55T5AK4KXT"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"5",
        b'{"data":{}}',
        b'{"name":"inngest/x"}',
        b'[{"name":"a"},{"name":""}]',
        b'{"name":"a","data":[]}',
        b"\xff{",
    ],
)
async def test_bad_events_are_refused_whole(engine: FakeEngine, body: bytes) -> None:
    async with api_client(engine) as api:
        response = await api.post("/e/x", content=body)
    answer = response.json()
    assert response.status_code == 400
    assert answer["status"] == 400
    assert answer["ids"] == []
    assert answer["error"]
    assert not engine.events


async def test_too_many_and_too_large_events(engine: FakeEngine) -> None:
    async with api_client(engine) as api:
        many = await api.post("/e/x", json=[{"name": "a"}] * 5001)
        large = await api.post("/e/x", json={"name": "a", "data": {"x": "y" * (3 << 20)}})
        huge = await api.post("/e/x", content=b"[" + b" " * MAX_REQUEST_BYTES + b"]")
    assert [many.status_code, large.status_code, huge.status_code] == [400, 400, 413]
    assert "32 MiB" in huge.json()["error"]
    assert not engine.events


async def test_a_body_without_a_length_is_cut_at_the_limit(engine: FakeEngine) -> None:
    async def endless():
        while True:
            yield b" " * (1 << 20)

    async with api_client(engine) as api:
        response = await api.post("/e/x", content=endless())
    assert response.status_code == 413


async def test_event_keys(engine: FakeEngine) -> None:
    async with api_client(engine, CLOUD) as api:
        wrong = await api.post("/e/k3", json={"name": "a"})
        right = await api.post("/e/k2", json={"name": "a"})
    assert wrong.status_code == 401
    assert wrong.json() == {"status": 401, "message": "", "error": "Event key not found"}
    assert right.status_code == 200
    assert right.headers["x-inngest-server-kind"] == "cloud"


async def test_a_store_that_can_not_work_is_a_503(engine: FakeEngine) -> None:
    engine.broken = "The disk is full; make room."
    async with api_client(engine) as api:
        response = await api.post("/e/x", json={"name": "a"})
        health = await api.get("/health")
    assert response.status_code == health.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json()["error"] == "The disk is full; make room."
    assert health.json()["error"] == "The disk is full; make room."


async def test_preflight(engine: FakeEngine) -> None:
    asked = {"origin": "http://a.example", "access-control-request-headers": "x-inngest-sdk"}
    async with api_client(engine) as api:
        response = await api.options("/e/x", headers=asked)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["access-control-allow-headers"] == "x-inngest-sdk"
    assert "access-control-allow-credentials" not in response.headers


async def test_registering_twice_changes_nothing_the_second_time(engine: FakeEngine) -> None:
    async with api_client(engine) as api:
        first = (await api.post("/fn/register", json=REGISTRATION)).json()
        again = (await api.post("/fn/register?deployId=1", json=REGISTRATION)).json()
        listed = (await api.get("/dev")).json()
    assert (first["ok"], first["modified"], again["modified"]) == (True, True, False)
    assert first["app_id"] == again["app_id"]
    assert listed["functions"] == [{"id": "demo-hello", "name": "hello"}]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"appName":"x"}', b'{"url":"http://a/","appName":"x","functions":[{}]}']
)
async def test_a_bad_registration_is_a_400_that_sdks_can_read(engine: FakeEngine, body: bytes) -> None:
    async with api_client(engine) as api:
        response = await api.post("/fn/register", content=body)
    answer = response.json()
    assert response.status_code == answer["status"] == 400
    assert isinstance(answer["error"], str)
    assert not engine.registrations


async def test_an_app_that_expects_another_kind_is_told(engine: FakeEngine) -> None:
    headers = {"x-inngest-expected-server-kind": "cloud"}
    async with api_client(engine) as api:
        response = await api.post("/fn/register", json=REGISTRATION, headers=headers)
    assert response.status_code == 400
    assert "'cloud'" in response.json()["error"]


@pytest.mark.parametrize("token", ["", "undefined", "signkey-test-ffff", SIGNING_KEY])
async def test_registration_needs_the_signing_key(engine: FakeEngine, token: str) -> None:
    async with api_client(engine, CLOUD) as api:
        response = await api.post("/fn/register", json=REGISTRATION, headers={"authorization": f"Bearer {token}"})
    assert response.status_code == (200 if token == SIGNING_KEY else 401)


async def test_the_hashed_key_and_the_fallback_key(engine: FakeEngine) -> None:
    hashed = "signkey-test-3e0c020d16ae2fa8467cb0af8488907cbaec86257d6b26c54e60696bc475fc8c"
    rotated = Settings(
        kind="cloud", signing_key="signkey-test-00ff", signing_key_fallback=SIGNING_KEY, event_keys=("k",)
    )
    for settings in (CLOUD, rotated):
        async with api_client(engine, settings) as api:
            response = await api.post("/fn/register", json=REGISTRATION, headers={"authorization": f"Bearer {hashed}"})
        assert response.status_code == 200
