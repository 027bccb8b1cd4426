"""aiohttp with a durable connector: what a plain session would have seen, recorded once."""

import asyncio
import gzip
import io
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stepwell
from stepwell.transports.aiohttp import DurableConnector, _Recorded, durable_session
from stepwell.wire.fetch import FetchResponse


async def view(response: aiohttp.ClientResponse) -> Any:
    raw = [[name.decode(), value.decode()] for name, value in response.raw_headers if name != b"Date"]
    cookies = [[name, morsel.value] for name, morsel in response.cookies.items()]
    body = await response.read()
    return [response.status, response.reason, str(response.url), raw, cookies, body.hex()]


async def test_a_response_is_what_a_plain_session_gets(run: Any, api: Any, replay: bool) -> None:
    packed = gzip.compress(bytes(range(256)), mtime=0)

    async def plain() -> Any:
        async with aiohttp.ClientSession() as http, http.get(f"{api.url}/exact") as response:
            return await view(response)

    async def f(ctx: stepwell.Context) -> Any:
        async with durable_session(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            async with http.get(f"{api.url}/exact") as whole:
                assert type(whole) is aiohttp.ClientResponse
                seen = await view(whole)
            async with http.get(f"{api.url}/exact", auto_decompress=False) as raw:
                assert await raw.read() == packed
            async with http.get(f"{api.url}/exact") as stream:
                pieces = [piece async for piece in stream.content.iter_chunked(100)]
            assert b"".join(pieces) == bytes(range(256))
            assert {cookie.key: cookie.value for cookie in http.cookie_jar} == {"a": "1", "b": "2"}
            assert (await http.head(f"{api.url}/weather")).status == 200
        return [seen, await ctx.step.run("plain", plain)]

    result = await run(f, always_replay=replay)
    assert result.status == "completed", result.output
    durable, same = result.output
    assert durable == same
    assert api.stats.paths == {"/exact": 4, "/weather": 1}


async def test_redirects_are_the_sessions_business(run: Any, api: Any, replay: bool) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        async with durable_session() as http:
            stays = await http.get(f"{api.url}/jump/1", allow_redirects=False)
            goes = await http.get(f"{api.url}/jump/3")
            return [stays.status, await goes.text(), [hop.status for hop in goes.history], str(goes.url)]

    result = await run(f, always_replay=replay)
    assert result.output == [302, "landed", [302, 302, 302], f"{api.url}/jump/0"]
    assert api.stats.paths == {"/jump/3": 1, "/jump/2": 1, "/jump/1": 2, "/jump/0": 1}


async def test_a_redirect_sends_a_body_again_that_can_be_read_once(run: Any, api: Any, replay: bool) -> None:
    async def pieces() -> Any:
        yield b"one,"
        yield b"two"

    async def f(ctx: stepwell.Context) -> Any:
        async with durable_session() as http:
            sent = [await http.post(f"{api.url}/elsewhere", data=data) for data in (pieces(), io.BytesIO(b"file"))]
            return [(await response.json())["body"] for response in sent]

    result = await run(f, always_replay=replay)
    assert result.status == "completed", result.output
    assert result.output == ["one,two", "file"]
    assert api.stats.paths == {"/elsewhere": 2, "/echo": 2}


async def test_bodies_of_every_kind(run: Any, api: Any, replay: bool) -> None:
    async def pieces() -> Any:
        yield b"one,"
        yield b"two"

    async def f(ctx: stepwell.Context) -> Any:
        url = f"{api.url}/echo"
        async with durable_session(headers={"stepwell-retries": "1"}) as http:
            sent = [
                await http.post(url, data=pieces()),
                await http.post(url, data={"a": "1 2"}),
                await http.put(url, json={"a": 1}),
                await http.post(url, data=io.BytesIO(b"file")),
                await http.post(url, data=b"x", headers={"Idempotency-Key": "mine"}),
                await http.delete(url),
            ]
            found = [await response.json() for response in sent]
        headers = {name.lower(): value for name, value in found[4]["headers"]}
        assert "stepwell-retries" not in headers
        return [[item["body"] for item in found], [item["method"] for item in found], headers["idempotency-key"]]

    result = await run(f, always_replay=replay)
    assert result.status == "completed", result.output
    bodies, methods, key = result.output
    assert bodies == ["one,two", "a=1+2", '{"a": 1}', "file", "x", ""]
    assert methods == ["POST", "POST", "PUT", "POST", "POST", "DELETE"]
    assert key == "mine"


async def test_the_request_is_what_a_plain_session_sends(run: Any, api: Any) -> None:
    async def ask(durable: bool, compress: bool = False) -> Any:
        form = aiohttp.FormData({"k": "v"})
        form.add_field("f", io.BytesIO(b"text"), filename="a.txt")
        made = durable_session() if durable else aiohttp.ClientSession()
        async with made as http:
            sent = [
                await http.post(f"{api.url}/echo?q=1", data=form, headers={"X-Mine": "ä"}),
                await http.post(f"{api.url}/echo"),
                await http.post(f"{api.url}/echo", data="text" * 99, compress="gzip"),
            ]
            return [seen(await response.json()) for response in sent]

    def seen(echo: Any) -> Any:
        gone = {"idempotency-key", "content-length", "connection", "transfer-encoding"}
        headers = sorted([name.lower(), value.partition("boundary")[0]] for name, value in echo["headers"])
        return [[pair for pair in headers if pair[0] not in gone], len(echo["body"])]

    async def f(ctx: stepwell.Context) -> Any:
        return [await ask(durable=True), await ctx.step.run("plain", ask, False)]

    result = await run(f)
    assert result.status == "completed", result.output
    durable, plain = result.output
    assert durable == plain


async def test_parallel_requests_and_middlewares(run: Any, api: Any, replay: bool) -> None:
    async def twice(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        (await handler(request)).release()
        return await handler(request)

    async def f(ctx: stepwell.Context) -> Any:
        async with durable_session(middlewares=[twice]) as http:
            found = await asyncio.gather(*(http.get(f"{api.url}/weather", params={"city": f"C{n}"}) for n in range(6)))
            return [(await response.json())["city"] for response in found]

    result = await run(f, always_replay=replay)
    assert result.output == [f"C{n}" for n in range(6)]
    assert api.stats.paths == {"/weather": 12}


async def test_errors_are_aiohttps_own(run: Any, api: Any, refused: str) -> None:
    async def kind(http: aiohttp.ClientSession, url: str) -> Any:
        with pytest.raises(aiohttp.ClientError) as caught:
            await http.get(url, timeout=aiohttp.ClientTimeout(sock_read=0.2))
        cause = caught.value.__cause__
        assert isinstance(cause, stepwell.FetchError)
        assert str(caught.value)
        return [type(caught.value).__name__, isinstance(caught.value, TimeoutError), cause.kind, cause.attempts]

    async def f(ctx: stepwell.Context) -> Any:
        async with durable_session(retry=2) as http:
            return [await kind(http, refused), await kind(http, f"{api.url}/slow")]

    result = await run(f)
    assert result.status == "completed", result.output
    assert result.output == [["ClientConnectorError", False, "connect", 2], ["SocketTimeoutError", True, "timeout", 2]]
    assert api.stats.paths == {"/slow": 2}


async def test_a_status_is_raised_as_ever(run: Any, api: Any) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        async with durable_session(raise_for_status=True) as http:
            with pytest.raises(aiohttp.ClientResponseError) as caught:
                await http.get(f"{api.url}/nowhere")
            return [caught.value.status, caught.value.message]

    assert (await run(f)).output == [404, "Not Found"]


async def test_the_total_timeout_does_not_measure_this_process(run: Any, api: Any, replay: bool) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        async with durable_session(retry=2, timeout=aiohttp.ClientTimeout(total=0.4)) as http:
            slow = [http.get(f"{api.url}/slow", params={"ms": 250}) for _ in range(1)]
            (found,) = await asyncio.gather(*slow)
            await asyncio.sleep(0.3)
            with pytest.raises(aiohttp.SocketTimeoutError):
                await http.get(f"{api.url}/slow", params={"ms": 3000})
            return [found.status, bool(await found.read())]

    result = await run(f, always_replay=replay)
    assert result.output == [200, True], result.output


async def test_a_cancelled_request_is_cancelled(run: Any, api: Any) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        async with durable_session() as http:
            asking = asyncio.create_task(http._request("GET", f"{api.url}/slow", params={"ms": 5000}))
            await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            return (await http.get(f"{api.url}/weather")).status

    assert (await run(f)).output == 200


async def test_what_can_not_be_durable_says_why(run: Any, api: Any) -> None:
    async def endless() -> Any:
        while True:
            yield bytes(1 << 20)

    async def f(ctx: stepwell.Context) -> Any:
        async with durable_session() as http:
            with pytest.raises(stepwell.StepUsageError, match="does not end within 33554432 bytes"):
                await http.post(f"{api.url}/echo", data=endless())
            with pytest.raises(stepwell.StepUsageError, match="a websocket can not be durable"):
                await http.ws_connect(f"{api.url}/echo")
        return "refused"

    result = await run(f)
    assert result.output == "refused"
    assert api.stats.total == 0


async def test_a_body_may_be_as_long_as_is_said(run: Any, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.transports.aiohttp.MAX_BODY", 10)

    async def f(ctx: stepwell.Context) -> Any:
        async with durable_session() as http:
            with pytest.raises(stepwell.StepUsageError, match="does not end within 10 bytes"):
                await http.post(f"{api.url}/echo", data=b"x" * 11)
            return (await (await http.post(f"{api.url}/echo", data=b"x" * 10)).json())["body"]

    assert (await run(f)).output == "x" * 10


async def test_plain_elsewhere(run: Any, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "hush")
    monkeypatch.setenv("STEPWELL_SECRETS_HOSTS", "MY_KEY=127.0.0.1")
    headers = {"stepwell-retries": "0", "Authorization": f"Bearer {stepwell.secret('MY_KEY')}"}

    async def ask() -> Any:
        async with durable_session(headers=headers) as http, http.post(f"{api.url}/echo", data=b"x") as response:
            return {name.lower(): value for name, value in (await response.json())["headers"]}

    async def strict() -> str:
        async with durable_session(fallback=None) as http:
            with pytest.raises(stepwell.StepUsageError) as caught:
                await http.get(f"{api.url}/weather")
            return str(caught.value)

    async def f(ctx: stepwell.Context) -> Any:
        return [await ctx.step.run("ask", ask), await ctx.step.run("strict", strict)]

    inside, refusal = (await run(f)).output
    assert "made inside the step 'strict'" in refusal
    for seen in (await ask(), inside):
        assert seen["authorization"] == "Bearer hush"
        assert not {"stepwell-retries", "idempotency-key"} & seen.keys()


async def test_a_session_that_outlives_runs_uses_its_fallback(run: Any, api: Any) -> None:
    fallback = aiohttp.TCPConnector()
    async with aiohttp.ClientSession(connector=DurableConnector(fallback)) as http:

        async def f(ctx: stepwell.Context) -> Any:
            return (await http.get(f"{api.url}/weather")).status

        assert (await run(f)).output == (await http.get(f"{api.url}/weather")).status == 200
    assert fallback.closed


async def test_in_a_sync_function(run: Any, api: Any) -> None:
    async def both() -> list[str]:
        async with durable_session() as http:
            return [(await (await http.post(f"{api.url}/echo", data=city)).json())["body"] for city in "AB"]

    def f(ctx: stepwell.ContextSync) -> Any:
        return asyncio.run(both())

    assert (await run(f)).output == ["A", "B"]
    assert api.stats.paths == {"/echo": 2}


async def test_a_large_body_comes_from_beside_the_state(run: Any, api: Any, replay: bool) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        sent = "x" * 600_000
        async with durable_session() as http:
            found = await (await http.post(f"{api.url}/echo", data=sent)).json()
        return found["body"] == sent

    assert (await run(f, always_replay=replay)).output is True


@given(st.binary(max_size=300), st.sampled_from(["length", "chunked", "none"]), st.sampled_from([200, 404, 503, 599]))
def test_any_response_is_read_back_as_it_was(body: bytes, framing: str, status: int) -> None:
    headers = [("Set-Cookie", "a=1"), ("X-Odd", "\xe4 \xff"), ("Set-Cookie", "b=2")]
    if framing == "length":
        headers.append(("Content-Length", str(len(body))))
    elif framing == "chunked":
        headers.append(("Transfer-Encoding", "chunked"))
    found = FetchResponse(status=status, url="http://x.test/", headers=tuple(headers), body=body, reason="So it is")

    async def read_back() -> Any:
        recorded = _Recorded(asyncio.get_running_loop())
        recorded.found = found
        recorded.set_response_params(read_until_eof=True, read_timeout=1.0)
        message, payload = await recorded.read()
        return message.code, message.reason, [tuple(pair) for pair in message.raw_headers], await payload.read()

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    assert asyncio.run(read_back()) == (status, "So it is", raw, body)
