"""httpx and httpx2 with durable transports: what a plain client would have seen, recorded once."""

import asyncio
import gzip
from importlib import import_module
from typing import Any

import httpx
import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import stepwell

LIBRARIES: list[Any] = [httpx, httpx2]


@pytest.fixture(params=LIBRARIES, ids=lambda library: library.__name__)
def lib(request: pytest.FixtureRequest) -> Any:
    return request.param


def transports(lib: Any) -> Any:
    return import_module(f"stepwell.transports.{lib.__name__}")


def client(lib: Any, fallback: Any = ..., **options: Any) -> Any:
    """An async client with a durable transport; ``options`` are the transport's but for the client's."""
    given = {key: options.pop(key) for key in ("timeout", "follow_redirects") if key in options}
    arguments = () if fallback is ... else (fallback,)
    return lib.AsyncClient(transport=transports(lib).AsyncDurableTransport(*arguments, **options), **given)


async def test_a_response_is_what_a_plain_client_gets(run: Any, api: Any, lib: Any, replay: bool) -> None:
    http = client(lib)
    packed = gzip.compress(bytes(range(256)), mtime=0)

    async def f(ctx: stepwell.Context) -> Any:
        whole = await http.get(f"{api.url}/exact")
        async with http.stream("GET", f"{api.url}/exact") as stream:
            raw = b"".join([part async for part in stream.aiter_raw()])
        async with lib.AsyncClient() as plain:
            other = await ctx.step.run("plain", plain_view, plain, f"{api.url}/exact")
        assert type(whole) is lib.Response
        assert raw == packed
        assert whole.content == bytes(range(256))
        assert whole.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2; Path=/"]
        assert dict(whole.cookies) == {"a": "1", "b": "2"}
        return view(whole) == other

    result = await run(f, always_replay=replay)
    assert result.status == "completed", result.output
    assert result.output is True
    assert api.stats.paths == {"/exact": 3}


async def plain_view(http: Any, url: str) -> Any:
    return view(await http.get(url))


def view(response: Any) -> Any:
    headers = [[name, value] for name, value in response.headers.multi_items() if name != "date"]
    return [response.status_code, response.http_version, response.reason_phrase, str(response.url), headers]


async def test_elapsed_is_the_recorded_time(run: Any, api: Any, lib: Any) -> None:
    http, seen = client(lib), list[float]()

    async def f(ctx: stepwell.Context) -> Any:
        seen.append((await http.get(f"{api.url}/slow", params={"ms": 60})).elapsed.total_seconds())
        await http.get(f"{api.url}/health")

    await run(f, always_replay=True)
    assert len(seen) > 1
    assert len(set(seen)) == 1
    assert 0.06 <= seen[0] < 20


async def test_elapsed_is_the_recorded_time_in_a_sync_function(run: Any, api: Any, lib: Any) -> None:
    seen = list[float]()

    def f(ctx: stepwell.ContextSync) -> Any:
        with lib.Client(transport=transports(lib).DurableTransport()) as http:
            seen.append(http.get(f"{api.url}/slow", params={"ms": 60}).elapsed.total_seconds())
            http.get(f"{api.url}/health")

    await run(f)
    assert len(seen) > 1
    assert len(set(seen)) == 1
    assert 0.06 <= seen[0] < 20


async def test_redirects_are_the_clients_business(run: Any, api: Any, lib: Any, replay: bool) -> None:
    http = client(lib)

    async def f(ctx: stepwell.Context) -> Any:
        stays = await http.get(f"{api.url}/jump/1")
        goes = await http.get(f"{api.url}/jump/3", follow_redirects=True)
        return [stays.status_code, goes.text, [hop.status_code for hop in goes.history], str(goes.url)]

    result = await run(f, always_replay=replay)
    assert result.output == [302, "landed", [302, 302, 302], f"{api.url}/jump/0"]
    assert api.stats.paths == {"/jump/3": 1, "/jump/2": 1, "/jump/1": 2, "/jump/0": 1}


async def test_cookies_hooks_and_an_auth_that_makes_requests_of_its_own(run: Any, lib: Any, replay: bool) -> None:
    """The client's own business, done alike by a plain one: each request that it makes is a step."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.path)
        said = request.headers.get("Authorization", "")
        if request.path == "/token":
            return web.json_response({"token": f"t{seen.count('/token')}"})
        if request.path == "/digest" and not said.startswith("Digest "):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'})
        response = web.json_response([said.split(" ")[0], said[-2:], dict(request.cookies)])
        response.set_cookie("visits", str(len(seen)))
        return response

    class Token(lib.Auth):
        requires_response_body = True

        def auth_flow(self, request: Any) -> Any:
            answered = yield lib.Request("POST", str(request.url.join("/token")))
            request.headers["Authorization"] = f"Bearer {answered.json()['token']}"
            yield request

    async def ask(base: str, transport: Any) -> Any:
        hooked: list[Any] = []

        async def watch(response: Any) -> None:
            await response.aread()
            hooked.append([response.status_code, len(response.content) > 0])

        async with lib.AsyncClient(
            transport=transport, base_url=base, auth=Token(), event_hooks={"response": [watch]}
        ) as http:
            found = [(await http.get("/a")).json(), (await http.get("/b")).json()]
            digested = await http.get("/digest", auth=lib.DigestAuth("ann", "pw"))
            return [*found, digested.json()[0], len(digested.history), dict(http.cookies), hooked]

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        base = str(server.make_url(""))
        plain, paths = await ask(base, None), [*seen]
        seen.clear()

        async def f(ctx: stepwell.Context) -> Any:
            return await ask(base, transports(lib).AsyncDurableTransport())

        result = await run(f, always_replay=replay)
    assert result.output == plain
    assert seen == paths == ["/token", "/a", "/token", "/b", "/digest", "/digest"], "each of them once"
    assert plain[:3] == [["Bearer", "t1", {}], ["Bearer", "t2", {"visits": "2"}], "Digest"]


async def test_bodies_of_every_kind(run: Any, api: Any, lib: Any, replay: bool) -> None:
    http = client(lib)

    async def pieces() -> Any:
        yield b"one,"
        yield b"two"

    async def f(ctx: stepwell.Context) -> Any:
        url = f"{api.url}/echo"
        sent = [
            await http.post(url, content=pieces()),
            await http.post(url, data={"a": "1 2"}),
            await http.put(url, json={"a": "ä"}),
            await http.post(url, content=b"x", headers={"Idempotency-Key": "mine"}),
            await http.delete(url),
        ]
        found = [response.json() for response in sent]
        keys = [value for name, value in found[3]["headers"] if name.lower() == "idempotency-key"]
        return [[item["body"] for item in found], [item["method"] for item in found], keys]

    result = await run(f, always_replay=replay)
    bodies, methods, keys = result.output
    assert bodies == ["one,two", "a=1+2", '{"a":"ä"}', "x", ""]
    assert methods == ["POST", "POST", "PUT", "POST", "DELETE"]
    assert keys == ["mine"]


async def test_parallel_requests(run: Any, api: Any, lib: Any, replay: bool) -> None:
    http = client(lib)

    async def f(ctx: stepwell.Context) -> Any:
        found = await asyncio.gather(*(http.get(f"{api.url}/weather", params={"city": f"C{n}"}) for n in range(8)))
        return [response.json()["city"] for response in found]

    result = await run(f, always_replay=replay)
    assert result.output == [f"C{n}" for n in range(8)]
    assert api.stats.paths == {"/weather": 8}


async def test_transport_errors_are_the_librarys_own(run: Any, api: Any, lib: Any, refused: str) -> None:
    http = client(lib, retry=2, timeout=0.2)

    async def kind(request: Any) -> list[Any]:
        with pytest.raises(lib.TransportError) as caught:
            await request
        cause = caught.value.__cause__
        assert isinstance(cause, stepwell.FetchError)
        assert caught.value.request.url.host == "127.0.0.1"
        return [type(caught.value).__name__, cause.kind, cause.attempts]

    async def f(ctx: stepwell.Context) -> Any:
        return [await kind(http.get(refused)), await kind(http.get(f"{api.url}/slow"))]

    result = await run(f)
    assert result.output == [["ConnectError", "connect", 2], ["ReadTimeout", "timeout", 2]]
    assert api.stats.paths == {"/slow": 2}


async def test_what_can_not_be_durable_says_why(run: Any, api: Any, lib: Any) -> None:
    http = client(lib)

    async def endless() -> Any:
        while True:
            yield bytes(1 << 20)

    async def why(request: Any) -> str:
        with pytest.raises(stepwell.StepUsageError) as caught:
            await request
        return str(caught.value)

    async def f(ctx: stepwell.Context) -> Any:
        return [
            await why(http.post(f"{api.url}/echo", content=endless())),
            await why(http.get(api.url, headers={"Connection": "Upgrade", "Upgrade": "websocket"})),
            await why(http.get("ws://127.0.0.1:9/")),
            await why(http.get("ftp://127.0.0.1:9/")),
        ]

    result = await run(f)
    long, upgrade, scheme, other = result.output
    assert other == "GET ftp://127.0.0.1: a durable request needs an absolute http or https URL"
    assert "does not end within 33554432 bytes" in long
    assert upgrade == f"GET {api.url.rpartition(':')[0]}: " + scheme.partition(": ")[2]
    assert "a websocket can not be durable" in scheme
    assert api.stats.total == 0


async def test_a_transport_of_the_other_library_is_an_error_that_names_the_right_one(
    run: Any, api: Any, lib: Any
) -> None:
    (other,) = (one for one in LIBRARIES if one is not lib)

    async def why(_ctx: Any = None) -> str:
        async with lib.AsyncClient(transport=transports(other).AsyncDurableTransport()) as http:
            with pytest.raises(stepwell.StepUsageError) as caught:
                await http.post(f"{api.url}/echo", content="x")
            return str(caught.value)

    def why_sync(_ctx: Any = None) -> str:
        with lib.Client(transport=transports(other).DurableTransport()) as http:
            with pytest.raises(stepwell.StepUsageError) as caught:
                http.post(f"{api.url}/echo", content="x")
            return str(caught.value)

    found = {await why(), why_sync(), (await run(why)).output, (await run(why_sync)).output}
    (message,) = found
    assert message.startswith(f"a client of {lib.__name__} was given a transport of {other.__name__}, whose responses")
    assert message.endswith(f"give it the one of stepwell.transports.{lib.__name__}")
    assert api.stats.total == 0


async def test_without_a_fallback_a_plain_request_is_an_error(run: Any, api: Any, lib: Any) -> None:
    http = client(lib, None)

    async def ask() -> str:
        with pytest.raises(stepwell.StepUsageError) as caught:
            await http.get(f"{api.url}/health")
        return str(caught.value)

    async def f(ctx: stepwell.Context) -> Any:
        return [await ctx.step.run("ask", ask), (await http.get(f"{api.url}/weather")).status_code]

    assert "made outside of a run" in await ask()
    result = await run(f)
    inside, status = result.output
    assert "made inside the step 'ask'" in inside
    assert "fallback=None" in inside
    assert status == 200


async def test_the_fallback_gets_plain_requests_without_our_headers(run: Any, api: Any, lib: Any) -> None:
    seen: list[Any] = []

    def answer(request: Any) -> Any:
        seen.append(request)
        return lib.Response(200, text="plain")

    http = client(lib, lib.MockTransport(answer))

    async def f(ctx: stepwell.Context) -> Any:
        found = await http.get(f"{api.url}/echo", headers={"stepwell-retries": "0", "x-mine": "1"})
        return sorted(name for name, _ in found.json()["headers"] if "-" in name and name.lower() != "user-agent")

    outside = await http.get("http://example.invalid/", headers={"stepwell-retries": "0", "x-mine": "1"})
    assert outside.text == "plain"
    assert "stepwell-retries" not in seen[0].headers
    assert seen[0].headers["x-mine"] == "1"
    result = await run(f)
    assert [name.lower() for name in result.output] == ["accept-encoding", "x-mine"]
    assert len(seen) == 1


async def test_a_sync_client_in_a_sync_function(run: Any, api: Any, lib: Any, refused: str) -> None:
    http = lib.Client(transport=transports(lib).DurableTransport(), follow_redirects=True)
    passes: list[int] = []

    def plain() -> int:
        return http.get(f"{api.url}/weather").status_code

    def f(ctx: stepwell.ContextSync) -> Any:
        passes.append(1)
        landed = http.get(f"{api.url}/jump/1")
        charged = http.post(f"{api.url}/charge", content=iter([b"a", b"b"])).json()
        with http.stream("GET", f"{api.url}/exact") as stream:
            size = len(b"".join(stream.iter_bytes()))
        with pytest.raises(lib.ConnectError) as caught:
            http.get(refused, headers={"stepwell-retries": "0"})
        assert isinstance(caught.value.__cause__, stepwell.FetchError)
        return [landed.text, charged["body"], size, ctx.step.run("plain", plain)]

    assert await asyncio.to_thread(plain) == 200
    result = await run(f)
    http.close()
    assert result.output == ["landed", "ab", 256, 200]
    assert api.stats.paths == {"/weather": 2, "/jump/1": 1, "/jump/0": 1, "/charge": 1, "/exact": 1}
    assert len(passes) == 7


async def test_a_sync_client_in_an_async_function_is_an_error(run: Any, api: Any, lib: Any) -> None:
    http = lib.Client(transport=transports(lib).DurableTransport())

    async def f(ctx: stepwell.Context) -> Any:
        with pytest.raises(stepwell.StepUsageError, match="AsyncDurableTransport"):
            http.get(f"{api.url}/weather")
        with pytest.raises(stepwell.StepUsageError, match="AsyncDurableTransport"):
            await asyncio.to_thread(http.get, f"{api.url}/weather")
        return "refused"

    assert (await run(f)).output == "refused"
    assert api.stats.total == 0


async def test_an_async_client_in_a_sync_function(run: Any, api: Any, lib: Any) -> None:
    async def both() -> list[str]:
        async with client(lib) as http:
            return [(await http.get(f"{api.url}/weather", params={"city": city})).json()["city"] for city in "AB"]

    def f(ctx: stepwell.ContextSync) -> Any:
        return asyncio.run(both())

    assert (await run(f)).output == ["A", "B"]
    assert api.stats.paths == {"/weather": 2}


async def test_an_async_client_in_a_task_group_of_a_sync_function(run: Any, api: Any, lib: Any) -> None:
    async def both() -> list[str]:
        async with client(lib) as http, asyncio.TaskGroup() as group:
            ways = [group.create_task(http.get(f"{api.url}/weather", params={"city": city})) for city in "AB"]
        return [way.result().json()["city"] for way in ways]

    def f(ctx: stepwell.ContextSync) -> Any:
        return asyncio.run(both())

    assert (await run(f)).output == ["A", "B"]
    assert api.stats.paths == {"/weather": 2}


async def test_a_large_body_comes_from_beside_the_state(run: Any, api: Any, lib: Any, replay: bool) -> None:
    http = client(lib)

    async def f(ctx: stepwell.Context) -> Any:
        sent = "x" * 600_000
        return (await http.post(f"{api.url}/echo", content=sent)).json()["body"] == sent

    assert (await run(f, always_replay=replay)).output is True
