"""What the pages of other sites get from a development platform through a browser on its machine, and names that lead there."""

import pytest

from stepwell.server.settings import Settings
from stepwell.wire.builtins import FETCH_EVENT
from tests.server.api_fakes import FakeEngine, api_client
from tests.server.test_dashboard_pages import WatchedFake, client

KEY = "signkey-test-" + "ab" * 16
FAR = [
    "https://evil.example",
    "http://evil.example:8288",
    "null",
    "http://8.8.8.8",
    "https://localhost.evil.example",
    "http://[",
]
NEAR = [
    "http://stepwell",
    "http://localhost:3000",
    "http://127.0.0.1:3000",
    "https://shop.test",
    "http://192.168.1.7:3000",
]
ASKED = [
    ("POST", "/fn/register"),
    ("POST", "/invoke/stepwell-cli-fetch"),
    ("GET", "/v1/runs"),
    ("GET", "/v1/events"),
    ("POST", "/v1/realtime/token"),
    ("GET", "/dev"),
]


@pytest.mark.parametrize("origin", FAR)
async def test_a_page_of_another_site_may_send_events_and_nothing_else(origin: str) -> None:
    engine = FakeEngine()
    async with api_client(engine, origin=origin) as api:
        for method, path in ASKED:
            answer = await api.request(method, path, content=b"{}")
            assert (answer.status_code, "another site" in answer.json()["error"]) == (403, True), path
        assert (await api.post("/e/x", json={"name": "a"})).status_code == 200
        assert (await api.options("/v1/runs")).status_code == 204
        refused = await api.post(
            "/e/x", content=f'[{{"name": "a"}}, {{"name": "{FETCH_EVENT}", "data": {{"url": "http://h/"}}}}]'
        )
    assert (refused.status_code, "command line" in refused.json()["error"]) == (400, True)
    assert len(engine.events) == 1


@pytest.mark.parametrize("origin", NEAR)
async def test_pages_of_this_machine_and_network_may_ask(origin: str) -> None:
    async with api_client(FakeEngine(), origin=origin) as api:
        assert (await api.get("/v1/runs")).status_code == 200
        assert (await api.post("/e/x", json={"name": FETCH_EVENT})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example:8288", "127.0.0.1.evil.example", "localhost.evil.example.", "a.b"])
async def test_no_name_of_a_site_leads_to_this_machine(host: str) -> None:
    async with api_client(FakeEngine(), host=host) as api, client(WatchedFake(), host=host) as web:
        for path in ("/v1/runs", "/e/x", "/health"):
            assert (await api.get(path)).status_code == 403, path
        page = await web.get("/")
        assert (page.status_code, "STEPWELL_PUBLIC_URL" in page.text) == (403, True)


@pytest.mark.parametrize(
    "host",
    ["localhost:8288", "[::1]:8288", "10.0.0.1", "stepwell:8288", "host.docker.internal", "a.svc.cluster.local", ""],
)
async def test_names_that_no_site_can_have_lead_here(host: str) -> None:
    async with api_client(FakeEngine(), host=host) as api, client(WatchedFake(), host=host) as web:
        assert (await api.get("/v1/runs")).status_code == 200
        assert (await web.get("/")).status_code == 200


async def test_its_public_url_does_and_so_does_every_name_where_it_listens_to_others() -> None:
    public = Settings(public_url="https://dev.example/stepwell")
    async with api_client(FakeEngine(), public, host="dev.example", origin="https://dev.example") as api:
        assert (await api.get("/v1/runs")).status_code == 200
    async with api_client(FakeEngine(), Settings(host="0.0.0.0"), host="dev.example") as api:
        assert (await api.get("/v1/runs")).status_code == 200


async def test_a_production_platform_asks_for_keys_instead() -> None:
    settings = Settings(kind="cloud", signing_key=KEY, event_keys=("k",))
    headers = {"host": "stepwell.example", "origin": "https://evil.example"}
    async with api_client(FakeEngine(), settings, **headers) as api:
        assert (await api.get("/v1/runs")).status_code == 401
        assert (await api.get("/v1/runs", headers={"authorization": f"Bearer {KEY}"})).status_code == 200
        assert (await api.post("/e/k", json={"name": "a"})).status_code == 200
