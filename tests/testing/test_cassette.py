"""Cassettes: recorded through the real fetcher from a real server, played back without it."""

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import stepwell
from stepwell.testing import Cassette, CassetteMiss, arun_function
from stepwell.testing.tape import Tape, entry, key_of, masked, outcome_of
from stepwell.wire.fetch import FetchBroken, FetchRequest, FetchResponse

SECRET = "hunter2"


class Upstream:
    """Counts what it sees; fails the first request to /flaky."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.seen.append(request.path)
        headers = {"set-cookie": f"session={SECRET}", "x-seen": str(len(self.seen))}
        if request.path == "/flaky" and self.seen.count("/flaky") == 1:
            return web.Response(status=503, text="busy")
        if request.path == "/gzip":
            return web.Response(body=gzip.compress(b"packed"), headers={"content-encoding": "gzip"})
        if request.path == "/bytes":
            return web.Response(body=b"\xff\x00")
        if request.path == "/redirect":
            raise web.HTTPFound(f"/end?token={SECRET}&page=3" if request.query else "/end")
        if request.path == "/away":
            raise web.HTTPFound(f"http://localhost:{request.url.port}/end")
        if request.path == "/garbled":
            return web.Response(body=b"no gzip", headers={"content-encoding": "gzip"})
        if request.path == "/secret":
            return web.Response(text=str(request.headers["x-key"] == f"a {SECRET}"))
        body = await request.text()
        return web.json_response({"n": len(self.seen), "got": len(body)}, headers=headers)


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def server(upstream: Upstream) -> AsyncIterator[TestServer]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", upstream.handle)
    async with TestServer(app) as found:
        yield found


def fetching(base: str, *calls: tuple[str, dict[str, Any]]) -> stepwell.Function:
    client = stepwell.Client(app_id="app", is_production=False)

    @client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"))
    async def f(ctx: stepwell.Context) -> list[Any]:
        found: list[Any] = []
        for path, arguments in calls:
            try:
                response = await ctx.step.fetch(f"{base}{path}", retry=2, **arguments)
                hops = [[hop.status_code, str(hop.url)] for hop in response.history]
                found.append([response.status_code, response.text, str(response.url), hops, response.content.hex()])
            except stepwell.FetchError as error:
                found.append([error.kind, error.attempts])
        return found

    return f


async def outputs(path: Path, base: str, calls: list[tuple[str, dict[str, Any]]], mode: Any = "once") -> Any:
    outcome = await arun_function(fetching(base, *calls), http=Cassette(path, mode))
    return outcome.raise_for_error().output


async def test_recorded_once_and_played_back_offline(tmp_path: Path, server: TestServer, upstream: Upstream) -> None:
    base, path = str(server.make_url("")).rstrip("/"), tmp_path / "deep" / "c.json"
    calls: list[tuple[str, dict[str, Any]]] = [
        ("/flaky", {}),
        ("/same", {}),
        ("/same", {}),
        ("/gzip", {}),
        ("/bytes", {}),
        ("/redirect", {}),
        ("/files", {"method": "POST", "files": {"a": b"content"}}),
    ]
    recorded = await outputs(path, base, calls)
    seen = list(upstream.seen)
    assert seen[:4] == ["/flaky", "/flaky", "/same", "/same"]
    assert recorded[3][:2] == [200, "packed"]
    assert recorded[5][2] == f"{base}/end"
    assert recorded[5][3] == [[302, f"{base}/redirect"]]
    assert '"text": "packed"' in path.read_text(), "for people to read"
    await server.close()
    assert await outputs(path, base, calls) == recorded
    assert await outputs(path, base, calls, "replay") == recorded
    assert upstream.seen == seen


async def test_failures_are_recorded_too(tmp_path: Path, server: TestServer) -> None:
    base = str(server.make_url("")).rstrip("/")
    await server.close()
    recorded = await outputs(tmp_path / "c.json", base, [("/x", {})])
    assert recorded == [["connect", 2]]
    assert await outputs(tmp_path / "c.json", "http://elsewhere.invalid", []) == []
    assert await outputs(tmp_path / "c.json", base, [("/x", {})], "replay") == recorded


async def test_no_credential_reaches_the_file(tmp_path: Path, server: TestServer) -> None:
    base, path = str(server.make_url("")).rstrip("/"), tmp_path / "c.json"
    own = Cassette(path, mask=["X-Own", "pin"])
    calls: list[tuple[str, dict[str, Any]]] = [
        (
            f"/json?api_key={SECRET}&page=2",
            {
                "method": "POST",
                "json": {"clientSecret": SECRET, "deep": [{"pin": SECRET}], "max_tokens": 7, "key": "short"},
                "headers": {"authorization": f"Bearer {SECRET}", "x-own": SECRET},
            },
        ),
        ("/form", {"method": "POST", "data": {"password": SECRET, "user": "ann"}}),
        (f"/redirect?token={SECRET}", {}),
        (f"/json?key=AIza-{SECRET}-0123456789&key=short&sig={SECRET}", {}),
    ]
    (await arun_function(fetching(base, *calls), http=own)).raise_for_error()
    text = path.read_text()
    assert SECRET not in text
    assert "api_key=***&page=2" in text
    assert '\\"max_tokens\\":7' in text
    assert "password=***&user=ann" in text
    assert f"{base}/end?token=***&page=3" in text
    assert "/json?key=***&key=short&sig=***" in text
    await server.close()
    again = Cassette(path, "replay", mask=["X-Own", "pin"])
    played = (await arun_function(fetching(base, *calls), http=again)).raise_for_error().output
    assert again.unused == []
    assert played[0][2] == f"{base}/json?api_key={SECRET}&page=2", "what was asked for now"
    assert played[2][3] == [[302, f"{base}/redirect?token={SECRET}"]]


async def test_the_platforms_secrets_go_out_while_recording_and_not_into_the_file(
    tmp_path: Path, server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    monkeypatch.setenv("STEPWELL_SECRETS_HOSTS", "MY_KEY=127.0.0.1")
    base, path = str(server.make_url("")).rstrip("/"), tmp_path / "c.json"
    call = ("/secret", {"headers": {"x-key": f"a {stepwell.secret('MY_KEY')}"}})
    recorded = await outputs(path, base, [call])
    assert recorded[0][:2] == [200, "True"], "the server had the value"
    assert SECRET not in path.read_text()
    assert await outputs(path, base, [call], "replay") == recorded


async def test_a_recording_is_of_its_method_its_url_and_its_body(tmp_path: Path, server: TestServer) -> None:
    base, path = str(server.make_url("")).rstrip("/"), tmp_path / "c.json"
    other: list[tuple[str, dict[str, Any]]] = [
        ("/a", {"method": "PUT", "content": b"1"}),
        ("/b", {"method": "POST", "content": b"1"}),
        ("/a", {"method": "POST", "content": b"2"}),
    ]
    await outputs(path, base, [("/a", {"method": "POST", "content": b"1"})])
    for call in other:
        with pytest.raises(CassetteMiss, match="has no recording of"):
            await outputs(path, base, [call])


@pytest.mark.parametrize("recorded", [{}, {"follow_redirects": False}, {"at_most_once": True}])
@pytest.mark.parametrize("played", [{}, {"follow_redirects": False}, {"at_most_once": True}])
@pytest.mark.parametrize("place", ["/redirect", "/away"])
async def test_redirects_are_followed_as_the_request_that_is_played_says(
    tmp_path: Path, server: TestServer, recorded: dict[str, Any], played: dict[str, Any], place: str
) -> None:
    """``/away`` leads to another host, which is an attempt of its own."""
    base, path = str(server.make_url("")).rstrip("/"), tmp_path / "c.json"
    (live,) = await outputs(tmp_path / "live.json", base, [(place, played)])
    await outputs(path, base, [(place, recorded)])
    if "follow_redirects" in recorded and "follow_redirects" not in played:
        with pytest.raises(CassetteMiss, match=r"has no recording of GET .*/end"):
            await outputs(path, base, [(place, played)], "replay")
        return
    (again,) = await outputs(path, base, [(place, played)], "replay")
    assert again[0] == live[0] == (302 if "follow_redirects" in played else 200)
    assert again[2:4] == live[2:4]


async def test_what_can_not_be_decoded_is_kept_as_it_came(tmp_path: Path, server: TestServer) -> None:
    cassette = Cassette(tmp_path / "c.json")
    request = FetchRequest(url=str(server.make_url("/garbled")), rich=True)
    recorded: Any = await cassette.fetch(request)
    await cassette.close()
    await server.close()
    played: Any = await Cassette(tmp_path / "c.json").fetch(request)
    assert played.body == recorded.body == b"no gzip"
    assert played.headers == recorded.headers


async def test_a_fetcher_of_ones_own_records(tmp_path: Path) -> None:
    class Own:
        async def fetch(self, request: FetchRequest, attempt: int = 0) -> FetchResponse:
            return FetchResponse(status=418, url=request.url, http_version="1.0", reason="Short")

        async def close(self) -> None:
            raise AssertionError("it is not the cassette's to close")

    request = FetchRequest(url="http://tea.example/")
    cassette = Cassette(tmp_path / "c.json", fetcher=Own())
    await cassette.fetch(request)
    await cassette.close()
    played: Any = await Cassette(tmp_path / "c.json", "replay").fetch(request)
    assert (played.status, played.http_version, played.reason) == (418, "1.0", "Short")


async def test_two_that_are_written_at_the_same_time_do_not_take_each_others_file(
    tmp_path: Path, server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two processes of one test run do with a cassette that they share."""
    one, two = (Cassette(tmp_path / "c.json", "record") for _ in range(2))
    for cassette in (one, two):
        await cassette.fetch(FetchRequest(url=str(server.make_url("/a")), rich=True))
    put, left = Path.replace, [two]

    def put_late(self: Path, target: Path) -> Path:
        if left:
            left.pop().save()
        return put(self, target)

    monkeypatch.setattr(Path, "replace", put_late)
    await one.close()
    await two.close()
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


async def test_without_a_request_there_is_no_file(tmp_path: Path) -> None:
    cassette = Cassette(tmp_path / "c.json")
    await cassette.close()
    assert not cassette.path.exists()


async def test_what_was_not_recorded_is_a_clear_error(tmp_path: Path, server: TestServer) -> None:
    base, path = str(server.make_url("")).rstrip("/"), tmp_path / "c.json"
    await outputs(path, base, [("/a", {}), ("/b", {})])
    with pytest.raises(CassetteMiss, match=r"c\.json has no recording of GET .*/other; .*record.*(?s:.*)/a(?s:.*)/b"):
        await outputs(path, base, [("/other", {})])
    with pytest.raises(CassetteMiss, match=r"has 1 recordings of GET .*/a, and all have been played"):
        await outputs(path, base, [("/a", {}), ("/a", {})])
    with pytest.raises(CassetteMiss, match=r"there is no cassette .*missing\.json"):
        Cassette(tmp_path / "missing.json", "replay")
    path.write_text("{")
    with pytest.raises(ValueError, match="is no cassette"):
        Cassette(path)
    with pytest.raises(ValueError, match="there is no cassette mode 'always'"):
        Cassette(path, cast(Any, "always"))


async def test_record_and_none_use_the_network(tmp_path: Path, server: TestServer, upstream: Upstream) -> None:
    base, path = str(server.make_url("")).rstrip("/"), tmp_path / "c.json"
    await outputs(path, base, [("/a", {})])
    first = path.read_bytes()
    await outputs(path, base, [("/a", {})], "none")
    assert path.read_bytes() == first
    await outputs(path, base, [("/a", {}), ("/a", {})], "record")
    assert len(json.loads(path.read_text())["entries"]) == 2
    assert len(upstream.seen) == 4


def test_the_form_of_a_failure() -> None:
    request = FetchRequest(url="https://user:pass@a.example/x", method="get")
    made = entry(masked(request), FetchBroken(kind="tls", message="no", final=True))
    assert made.request.url == "https://***@a.example/x"
    assert outcome_of(made, request) == FetchBroken(kind="tls", message="no", final=True)
    assert key_of(made.request) == ("GET", "https://***@a.example/x", b"")
    assert Tape().version == 1
