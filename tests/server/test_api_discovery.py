"""Finding apps and keeping them in sync, with real apps on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from stepwell.server import discovery as discovering
from stepwell.server.discovery import Discovery, usual_places
from stepwell.server.settings import Settings
from stepwell.wire.signing import verify
from tests.e2e.ugly import until
from tests.ports import free_port
from tests.server.api_fakes import SIGNING_KEY, FakeEngine

SDK = {"x-inngest-sdk": "inngest-js:v4.24.0"}


def functions(*names: str) -> list[dict[str, object]]:
    runtime = {"type": "http", "url": "http://127.0.0.1/x"}
    step = {"id": "step", "name": "step", "runtime": runtime}
    return [{"id": f"demo-{n}", "name": n, "triggers": [{"event": n}], "steps": {"step": step}} for n in names]


class App:
    """An app that syncs in-band, unless it is told otherwise."""

    def __init__(self) -> None:
        self.names = ["a"]
        self.answer: Callable[[], web.Response] | None = None
        self.in_band = True
        self.puts: list[tuple[str | None, bytes, str | None]] = []
        self.kinds: set[str | None] = set()
        self.url = ""

    async def put(self, request: web.Request) -> web.Response:
        mode = request.headers.get("x-inngest-sync-kind")
        self.puts.append((mode, await request.read(), request.headers.get("x-inngest-signature")))
        self.kinds.add(request.headers.get("x-inngest-server-kind"))
        if self.answer is not None:
            return self.answer()
        if mode != "in_band":
            return web.json_response({"message": "ok", "modified": True}, headers=SDK)
        if not self.in_band:
            return web.json_response({"message": "no"}, status=401, headers=SDK)
        body = {"app_id": "demo", "url": "http://elsewhere/", "sdk": "js:v4", "functions": functions(*self.names)}
        return web.json_response(body, headers={**SDK, "x-inngest-sync-kind": "in_band"})

    async def get(self, request: web.Request) -> web.Response:
        return web.json_response({}, status=403, headers=SDK)


@asynccontextmanager
async def serving(app: App, port: int = 0) -> AsyncIterator[App]:
    server = web.Application()
    server.router.add_put("/api/inngest", app.put)
    server.router.add_get("/api/inngest", app.get)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
    await site.start()
    number = runner.addresses[0][1]
    app.url = f"http://127.0.0.1:{number}/api/inngest"
    try:
        yield app
    finally:
        await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


async def look(discovery: Discovery, session: aiohttp.ClientSession) -> None:
    """Once at every URL."""
    for state in list(discovery.states.values()):
        await discovery.sync(session, state)


async def test_in_band_sync_and_changes(session: aiohttp.ClientSession) -> None:
    engine = FakeEngine()
    async with serving(App()) as app:
        discovery = Discovery(engine, Settings(app_urls=(app.url,)))
        await look(discovery, session)
        assert [f.id for f in engine.functions()] == ["demo-a"]
        assert engine.registrations["demo"].url == app.url.replace("127.0.0.1", "localhost")
        first = engine.registrations["demo"]
        await look(discovery, session)
        assert engine.registrations["demo"] is first
        app.names.append("b")
        await look(discovery, session)
        assert [f.id for f in engine.functions()] == ["demo-a", "demo-b"]
    assert {mode for mode, _, _ in app.puts} == {"in_band"}
    assert app.kinds == {"dev"}


async def test_an_app_without_in_band_registers_itself(session: aiohttp.ClientSession) -> None:
    async with serving(App()) as app:
        app.in_band = False
        discovery = Discovery(FakeEngine(), Settings(app_urls=(app.url,)))
        await look(discovery, session)
        await look(discovery, session)
        assert discovery.states[app.url].connected
    assert [mode for mode, _, _ in app.puts] == ["in_band", "out_of_band", "out_of_band"]
    assert app.puts[1][1] == b""


async def test_in_band_requests_are_signed(session: aiohttp.ClientSession) -> None:
    settings = Settings(kind="cloud", signing_key=SIGNING_KEY, event_keys=("k",))
    async with serving(App()) as app:
        state = Discovery(FakeEngine(), Settings(**{**as_dict(settings), "app_urls": (app.url,)}))
        await look(state, session)
    _, body, signature = app.puts[0]
    at = int((signature or "").split("&")[0].removeprefix("t="))
    assert verify(body, signature, SIGNING_KEY, at)


def as_dict(settings: Settings) -> dict[str, object]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__}


async def test_an_app_that_goes_and_comes_back(
    session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/api/inngest"
    engine = FakeEngine()
    discovery = Discovery(engine, Settings(app_urls=(url,)))
    with caplog.at_level("INFO", "stepwell.discovery"):
        await look(discovery, session)
        await look(discovery, session)
        assert discovery.states[url].error
        async with serving(App(), port):
            await look(discovery, session)
            assert discovery.states[url].connected
        await look(discovery, session)
        assert not discovery.states[url].connected
        async with serving(App(), port):
            await look(discovery, session)
            assert discovery.states[url].connected
    texts = [record.getMessage() for record in caplog.records if record.name == "stepwell.discovery"]
    assert [("Nothing answers" in t, "in sync" in t) for t in texts] == [(True, False), (False, True)] * 2


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (200, "<html>", {}, "not an app"),
        (404, "", {}, "not an app"),
        (500, '{"message":"bad key"}', SDK, "bad key"),
        (200, '{"app_id":"x","functions":[{}]}', {**SDK, "x-inngest-sync-kind": "in_band"}, "not accepted"),
        (200, "nonsense", {**SDK, "x-inngest-sync-kind": "in_band"}, "not accepted"),
    ],
)
async def test_what_is_no_app(
    session: aiohttp.ClientSession, status: int, body: str, headers: dict[str, str], said: str
) -> None:
    engine = FakeEngine()
    async with serving(App()) as app:
        app.answer = lambda: web.Response(status=status, text=body, headers=headers)
        discovery = Discovery(engine, Settings(app_urls=(app.url,)))
        await look(discovery, session)
        assert said in (discovery.states[app.url].error or "")
    assert not engine.registrations


async def test_probing_finds_an_app_and_knows_it_when_it_comes_back(session: aiohttp.ClientSession) -> None:
    engine, port = FakeEngine(), free_port()
    discovery = Discovery(engine, Settings())
    async with serving(App(), port) as app:
        silent = f"http://127.0.0.1:{free_port()}/api/inngest"
        assert await discovery.probe(session, [silent]) is None
        wrong = app.url.replace("/api/inngest", "/api/stepwell")
        found = await discovery.probe(session, [wrong, app.url])
        assert found is not None
        assert await discovery.probe(session, [wrong, app.url]) is None
        await discovery.sync(session, found)
        assert list(discovery.states) == [app.url]
        assert [f.id for f in engine.functions()] == ["demo-a"]
    await discovery.sync(session, found)
    assert "Nothing answers" in (found.error or "")
    async with serving(App(), port):
        await discovery.sync(session, found)
        assert (found.connected, found.error) == (True, None)


async def test_what_was_found_and_never_was_an_app_is_forgotten(session: aiohttp.ClientSession) -> None:
    discovery = Discovery(FakeEngine(), Settings())
    async with serving(App()) as app:
        app.answer = lambda: web.json_response({"message": "no"}, status=500, headers=SDK)
        found = await discovery.probe(session, [app.url])
        assert found is not None
        await discovery.sync(session, found)
    assert discovery.states == {}


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[str, list[object]]]:
    """What accepts connections and never answers; the URL, and who came."""
    came: list[object] = []
    ended = asyncio.Event()

    async def hold(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer)
        await ended.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/inngest", came
    finally:
        ended.set()
        server.close()


@pytest.mark.parametrize("asked", [True, False], ids=["asked for", "probed for"])
async def test_an_app_that_never_answers_holds_up_no_other(asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovering, "PROBE_TIMEOUT_S", 60.0)
    engine = FakeEngine()
    async with silent_server() as (silent, came), serving(App()) as app:
        settings = Settings(app_urls=(silent, app.url)) if asked else Settings()
        discovery = Discovery(engine, settings, interval_s=0.02, probes=[silent, app.url])
        looking = asyncio.create_task(discovery.run())
        try:
            await until(lambda: [f.id for f in engine.functions()] == ["demo-a"] and len(came) == 1, 20)
            app.names.append("b")
            await until(lambda: [f.id for f in engine.functions()] == ["demo-a", "demo-b"], 20)
            assert len(came) == 1, "it is still in the first look"
            assert not any(state.error for state in discovery.states.values())
        finally:
            looking.cancel()
            await asyncio.wait([looking])


async def test_nothing_to_look_for_ends_at_once() -> None:
    await Discovery(FakeEngine(), Settings(discovery=False)).run()
    assert not Discovery(FakeEngine(), Settings(kind="cloud")).probing
    assert not Discovery(FakeEngine(), Settings(app_urls=("http://a/",))).probing


def test_the_platforms_own_port_is_left_out() -> None:
    places = usual_places(8000)
    assert "http://localhost:3000/api/stepwell" in places
    assert not any(":8000/" in place for place in places)
