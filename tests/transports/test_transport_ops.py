"""What the platform is asked for by every client: the step's id, the request, the policy, the time-outs of its phases."""

from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import urllib3

import stepwell
from stepwell.transports import aiohttp as durable_aiohttp
from stepwell.transports import httpx as durable_httpx
from stepwell.transports import httpx2 as durable_httpx2
from stepwell.transports import requests as durable_requests
from stepwell.transports.urllib3 import DurablePoolManager
from stepwell.wire.fetch import FetchRequest, FetchResponse, Timeouts
from stepwell.wire.gateway import parse_gateway
from tests.sdk.fake_engine import Engine
from tests.server.hostile_server import hostile
from tests.transports.ways import ASYNC, SYNC, function

every_way = pytest.mark.parametrize("way", [*ASYNC, *SYNC])
URL = "http://api.test:81/v1/x?key=secret"
NEVER = 7200.0


async def op(f: Any) -> tuple[FetchRequest, str | None]:
    """The request of the one step that the function comes to, and the step's id."""
    engine = Engine(f)
    answer = await engine.call()
    await engine.executor.close()
    assert answer.error is None, answer.error.message
    (found,) = answer.ops
    assert found.op == "Gateway"
    return parse_gateway(bytes(found.opts or b"")), found.display_name


@every_way
async def test_the_id_is_method_host_and_path(way: str) -> None:
    for url, name in ((URL, "api.test:81/v1/x"), ("http://api.test/", "api.test/"), ("http://[::1]:81/", "[::1]:81/")):
        request, step_id = await op(function(way, url))
        assert (request.url, step_id) == (url, f"GET {name}")


@every_way
async def test_the_options_of_a_transport_are_the_policy_of_each_request(way: str) -> None:
    retry = stepwell.Retry(attempts=4, on={418}, min_delay=1, max_delay="9s")
    request, _ = await op(function(way, URL, retry=retry, deadline="5m", at_most_once=True))
    policy = request.policy
    assert (policy.attempts, policy.retry_on, policy.min_delay_ms, policy.max_delay_ms) == (4, (418,), 1_000, 9_000)
    assert (policy.deadline_ms, policy.at_most_once, policy.follow_redirects) == (300_000, True, False)
    request, _ = await op(function(way, URL))
    assert (request.policy.attempts, request.policy.deadline_ms, request.policy.at_most_once) == (None, None, False)


@every_way
async def test_headers_steer_a_single_request_and_the_users_own_are_kept(way: str) -> None:
    headers = {"stepwell-retries": "2", "stepwell-deadline": "7s", "Host": "other.test", "X-Mine": "1"}
    request, _ = await op(function(way, URL, headers=headers, retry=9))
    assert (request.policy.attempts, request.policy.deadline_ms) == (3, 7_000)
    sent = {name.lower(): value for name, value in request.headers}
    assert (sent["host"], sent["x-mine"]) == ("other.test", "1")
    assert not [name for name in sent if name.startswith("stepwell-")]
    request, _ = await op(function(way, URL))
    assert "host" not in {name.lower() for name, _ in request.headers}


def of_httpx2(timeout: Any) -> Any:
    async def f(ctx: Any) -> Any:
        async with httpx2.AsyncClient(transport=durable_httpx2.AsyncDurableTransport(), timeout=timeout) as http:
            await http.get(URL)

    return f


def of_aiohttp(timeout: Any) -> Any:
    async def f(ctx: Any) -> Any:
        async with durable_aiohttp.durable_session(timeout=timeout) as http:
            await http.get(URL)

    return f


def of_requests(timeout: Any) -> Any:
    return lambda ctx: durable_requests.durable_session().get(URL, timeout=timeout)


def of_urllib3(timeout: Any) -> Any:
    return lambda ctx: DurablePoolManager(timeout=timeout).request("GET", URL)


@pytest.mark.parametrize(
    ("f", "phases"),
    [
        (of_httpx2(httpx2.Timeout(5, read=60, write=7, pool=8)), Timeouts(5, 60, 7, 8)),
        (of_httpx2(3), Timeouts(3, 3, 3, 3)),
        (of_httpx2(None), Timeouts(NEVER, NEVER, NEVER, NEVER)),
        (of_aiohttp(aiohttp.ClientTimeout(total=9, connect=3, sock_connect=1, sock_read=2)), Timeouts(1, 2, 9)),
        (of_aiohttp(aiohttp.ClientTimeout(total=9, connect=3)), Timeouts(3, 9, 9)),
        (of_aiohttp(aiohttp.ClientTimeout(total=9)), Timeouts(9, 9, 9)),
        (of_aiohttp(aiohttp.ClientTimeout(total=None, sock_read=2)), Timeouts(NEVER, 2, NEVER)),
        (of_requests((1, 2)), Timeouts(1, 2)),
        (of_requests(3), Timeouts(3, 3)),
        (of_requests(None), Timeouts(NEVER, NEVER)),
        (of_urllib3(urllib3.Timeout(connect=1, read=2)), Timeouts(1, 2)),
        (of_urllib3(3), Timeouts(3, 3)),
    ],
)
async def test_time_outs_are_the_clients_own_for_each_phase(f: Any, phases: Timeouts) -> None:
    request, _ = await op(f)
    assert request.policy.timeouts == phases


async def test_the_version_of_http_is_the_servers(run: Any) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        found: list[Any] = []
        for lib, durable in ((httpx, durable_httpx), (httpx2, durable_httpx2)):
            async with lib.AsyncClient(transport=durable.AsyncDurableTransport()) as http:
                found.append((await http.get(server.url)).http_version)
        async with durable_aiohttp.durable_session() as http, http.get(server.url) as answer:
            assert answer.version is not None
            return [*found, list(answer.version)]

    def g(ctx: stepwell.ContextSync) -> Any:
        found: list[Any] = []
        for lib, durable in ((httpx, durable_httpx), (httpx2, durable_httpx2)):
            with lib.Client(transport=durable.DurableTransport()) as http:
                found.append(http.get(server.url).http_version)
        found.append(durable_requests.durable_session().get(server.url).raw.version)
        return [*found, DurablePoolManager().request("GET", server.url).version]

    async with hostile(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok") as server:
        assert (await run(f)).output == ["HTTP/1.0", "HTTP/1.0", [1, 0]]
        assert (await run(g)).output == ["HTTP/1.0", "HTTP/1.0", 10, 10]


async def test_pieces_of_text_are_sent_as_utf_8() -> None:
    for f in (
        lambda ctx: DurablePoolManager().request("POST", URL, body=iter(["ä", "b"])),
        lambda ctx: durable_requests.durable_session().post(URL, data=iter(["ä", "b"])),
    ):
        request, _ = await op(f)
        assert request.body == "äb".encode()


async def test_a_session_of_requests_is_durable_for_https_too() -> None:
    request, step_id = await op(lambda ctx: durable_requests.durable_session().get("https://api.test/x"))
    assert (request.url, step_id) == ("https://api.test/x", "GET api.test/x")


async def test_retries_that_the_user_asks_of_urllib3_are_further_requests() -> None:
    def f(ctx: Any) -> list[int]:
        again = urllib3.Retry(total=1, status_forcelist={503})
        return [
            DurablePoolManager().request("GET", URL).status,
            DurablePoolManager(retries=again).request("GET", URL).status,
        ]

    engine, statuses = Engine(f), [503, 503, 200]
    engine.upstream = lambda request: FetchResponse(status=statuses.pop(0), url=request.url)
    assert await engine.run() == [503, 200]
