"""urllib3 with a durable pool manager."""

import asyncio
from typing import Any

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

import stepwell
from stepwell.transports._http1 import response_bytes
from stepwell.transports.urllib3 import DurablePoolManager, _Socket, cause_of
from stepwell.wire.fetch import FetchResponse


async def test_responses_of_every_kind(run: Any, api: Any) -> None:
    def f(ctx: stepwell.ContextSync) -> Any:
        http = DurablePoolManager()
        whole = http.request("GET", f"{api.url}/exact")
        stream = http.request("GET", f"{api.url}/exact", preload_content=False)
        pieces = b"".join(stream.stream(100, decode_content=True))
        raw = http.request("GET", f"{api.url}/exact", decode_content=False)
        head = http.request("HEAD", f"{api.url}/weather")
        assert type(whole) is urllib3.HTTPResponse
        assert whole.data == pieces == bytes(range(256))
        assert whole.headers.getlist("set-cookie") == ["a=1; Path=/", "b=2; Path=/"]
        assert (head.status, head.data) == (200, b"")
        return [raw.data[:2].hex(), http.request("GET", f"{api.url}/weather").json()["city"]]

    result = await run(f)
    assert result.status == "completed", result.output
    assert result.output[0] == "1f8b"
    assert api.stats.paths == {"/exact": 3, "/weather": 2}


async def test_redirects_are_followed_hop_by_hop(run: Any, api: Any) -> None:
    def f(ctx: stepwell.ContextSync) -> Any:
        http = DurablePoolManager()
        landed = http.request("GET", f"{api.url}/jump/2")
        with pytest.raises(urllib3.exceptions.MaxRetryError, match="too many redirects"):
            http.request("GET", f"{api.url}/jump/9")
        return [landed.data.decode(), landed.geturl(), http.request("GET", f"{api.url}/jump/1", redirect=False).status]

    result = await run(f)
    assert result.output == ["landed", "/jump/0", 302]
    assert api.stats.paths["/jump/0"] == 1


async def test_bodies(run: Any, api: Any) -> None:
    def f(ctx: stepwell.ContextSync) -> Any:
        http, url = DurablePoolManager(headers={"X-Mine": "1"}), f"{api.url}/echo"
        sent = [
            http.request("POST", url, body=b"plain"),
            http.request("POST", url, body=iter([b"a", b"b"])),
            http.request("POST", url, fields={"k": "v"}, encode_multipart=False),
            http.request(
                "POST", url, json={"k": 1}, headers={"Transfer-Encoding": "chunked", "Idempotency-Key": "mine"}
            ),
        ]
        found = [response.json() for response in sent]
        headers = [{name.lower(): value for name, value in item["headers"]} for item in found]
        assert headers[0]["x-mine"] == "1"
        assert headers[0]["user-agent"].startswith("python-urllib3/")
        assert headers[3]["idempotency-key"] == "mine"
        return [item["body"] for item in found]

    assert (await run(f)).output == ["plain", "ab", "k=v", '{"k":1}']


async def test_errors_are_urllib3s_own_and_it_retries_nothing(run: Any, api: Any, refused: str) -> None:
    def kind(http: DurablePoolManager, url: str, **options: Any) -> Any:
        with pytest.raises(urllib3.exceptions.HTTPError) as caught:
            http.request("GET", url, timeout=0.2, **options)
        cause = caught.value.__cause__
        assert isinstance(cause, stepwell.FetchError)
        reason = getattr(caught.value, "reason", None)
        return [type(caught.value).__name__, type(reason).__name__, cause.kind, cause.attempts]

    def f(ctx: stepwell.ContextSync) -> Any:
        http = DurablePoolManager(retry=2)
        return [
            kind(http, refused),
            kind(http, refused, retries=False),
            kind(http, f"{api.url}/slow"),
        ]

    result = await run(f)
    assert result.output == [
        ["MaxRetryError", "NewConnectionError", "connect", 2],
        ["NewConnectionError", "NoneType", "connect", 2],
        ["MaxRetryError", "ReadTimeoutError", "timeout", 2],
    ]
    assert api.stats.paths == {"/slow": 2}


@pytest.mark.parametrize(
    "kind", ["dns", "tls", "guard", "write", "read", "too_large", "protocol", "invalid", "unknown"]
)
def test_every_kind_keeps_its_cause(kind: str) -> None:
    from stepwell.transports.urllib3 import _DurableHTTP, _translated

    fetch = stepwell.FetchError("no", kind)
    made = _translated(_DurableHTTP("x.test", 80), fetch)
    made.__cause__ = fetch
    assert isinstance(made, urllib3.exceptions.HTTPError)
    assert cause_of(urllib3.exceptions.MaxRetryError(urllib3.HTTPConnectionPool("x.test"), "/", made)) is fetch


async def test_plain_elsewhere(run: Any, api: Any) -> None:
    http = DurablePoolManager()
    strict = DurablePoolManager(None)

    def ask() -> Any:
        return http.request("POST", f"{api.url}/echo", body=b"x", headers={"stepwell-retries": "0"}).json()["headers"]

    def f(ctx: stepwell.ContextSync) -> Any:
        return ctx.step.run("ask", ask)

    outside = await asyncio.to_thread(ask)
    with pytest.raises(stepwell.StepUsageError, match="outside of a run"):
        strict.request("GET", f"{api.url}/echo")
    inside = (await run(f)).output
    http.clear()
    for headers in (outside, inside):
        assert not {"stepwell-retries", "idempotency-key"} & {name.lower() for name, _ in headers}


async def test_a_pool_that_is_kept_is_durable_in_runs_and_plain_elsewhere(run: Any, api: Any, refused: str) -> None:
    manager = DurablePoolManager(maxsize=1)
    pool = manager.connection_from_url(api.url)
    nowhere = manager.connection_from_url(refused)

    def ask(path: str = "/echo") -> Any:
        headers = pool.request("POST", path, body=b"x", headers={"stepwell-retries": "0"}).json()["headers"]
        return sorted({"stepwell-retries", "idempotency-key"} & {name.lower() for name, _ in headers})

    def f(ctx: stepwell.ContextSync) -> Any:
        durable = [ask(), ask(f"{api.url}/echo")]
        with pytest.raises(urllib3.exceptions.MaxRetryError) as caught:
            nowhere.urlopen("GET", "/", None, {"stepwell-retries": "0"})
        assert isinstance(caught.value.__cause__, stepwell.FetchError)
        return [*durable, ctx.step.run("ask", ask)]

    assert await asyncio.to_thread(ask) == []
    result = await run(f)
    manager.clear()
    assert result.output == [["idempotency-key"], ["idempotency-key"], []]
    with pytest.raises(stepwell.StepUsageError, match="outside of a run"):
        DurablePoolManager(None).connection_from_url(api.url).request("GET", "/echo")


async def test_more_requests_at_a_time_than_a_pool_keeps_are_no_warning(
    run: Any, api: Any, caplog: pytest.LogCaptureFixture
) -> None:
    manager = DurablePoolManager()

    def f(ctx: stepwell.ContextSync) -> Any:
        first = manager.request("GET", f"{api.url}/echo", preload_content=False)
        second = manager.request("GET", f"{api.url}/echo")
        first.drain_conn()
        first.release_conn()
        return [first.status, second.status]

    assert (await run(f)).output == [200, 200]
    assert "pool is full" not in caplog.text


async def test_https_goes_to_the_platform_too(run: Any, refused: str) -> None:
    def f(ctx: stepwell.ContextSync) -> Any:
        with pytest.raises(urllib3.exceptions.HTTPError) as caught:
            DurablePoolManager(retry=1).request("GET", refused.replace("http:", "https:"))
        assert isinstance(caught.value.__cause__, stepwell.FetchError)
        return caught.value.__cause__.kind

    assert (await run(f)).output == "connect"


BODIES = st.binary(max_size=300)


@given(BODIES, st.sampled_from(["length", "chunked", "none"]), st.sampled_from([200, 201, 404, 503, 599]))
def test_any_response_is_read_back_as_it_was(body: bytes, framing: str, status: int) -> None:
    headers: list[tuple[str, str]] = [("Set-Cookie", "a=1"), ("X-Odd", "\xe4 \xff"), ("Set-Cookie", "b=2")]
    if framing == "length":
        headers.append(("Content-Length", str(len(body))))
    elif framing == "chunked":
        headers.append(("Transfer-Encoding", "chunked"))
    found = FetchResponse(status=status, url="http://x.test/", headers=tuple(headers), body=body, reason="So \xfc")
    connection = urllib3.connection.HTTPConnection("x.test")
    connection.sock = _Socket()  # type: ignore[assignment]
    connection.sock.received = response_bytes(found)  # type: ignore[attr-defined]
    connection.sock.sendall = lambda data: None  # type: ignore[union-attr]
    connection.request("GET", "/", preload_content=True)
    made = connection.getresponse()
    assert (made.status, made.reason, made.data) == (status, "So \xfc", body)
    assert sorted(made.headers.items()) == sorted(headers)
