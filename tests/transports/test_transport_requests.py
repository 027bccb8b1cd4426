"""requests and urllib3 with durable adapters: what a plain client would have seen, recorded once."""

import asyncio
import copy
import gzip
import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

import stepwell
from stepwell.transports.requests import DurableAdapter, durable_session


def view(response: requests.Response) -> Any:
    headers = [[name, value] for name, value in response.raw.headers.items() if name.lower() != "date"]
    cookies = sorted(dict(response.cookies).items())
    return [
        response.status_code,
        response.reason,
        response.url,
        headers,
        [list(pair) for pair in cookies],
        response.encoding,
    ]


async def test_a_response_is_what_a_plain_client_gets(run: Any, api: Any) -> None:
    packed = gzip.compress(bytes(range(256)), mtime=0)

    def plain() -> Any:
        with requests.Session() as session:
            return view(session.get(f"{api.url}/exact"))

    def f(ctx: stepwell.ContextSync) -> Any:
        session = durable_session()
        whole = session.get(f"{api.url}/exact")
        raw = session.get(f"{api.url}/exact", stream=True).raw.read(decode_content=False)
        pieces = list(session.get(f"{api.url}/exact", stream=True).iter_content(100))
        assert type(whole) is requests.Response
        assert raw == packed
        assert whole.content == b"".join(pieces) == bytes(range(256))
        assert len(pieces) == 3
        assert dict(session.cookies) == {"a": "1", "b": "2"}
        return [view(whole), ctx.step.run("plain", plain)]

    result = await run(f)
    assert result.status == "completed", result.output
    durable, same = result.output
    assert durable == same
    assert api.stats.paths == {"/exact": 4}


async def test_elapsed_is_the_recorded_time(run: Any, api: Any) -> None:
    seen, hooked = list[float](), list[float]()

    def f(ctx: stepwell.ContextSync) -> Any:
        session = durable_session()
        session.hooks["response"].append(lambda response, **_: hooked.append(response.elapsed.total_seconds()))
        seen.append(session.get(f"{api.url}/slow", params={"ms": 60}).elapsed.total_seconds())
        session.get(f"{api.url}/health")

    await run(f)
    assert len(seen) > 1
    assert set(seen) <= set(hooked)
    assert len(set(seen)) == 1
    assert 0.06 <= seen[0] < 20


async def test_redirects_are_the_sessions_business(run: Any, api: Any) -> None:
    def f(ctx: stepwell.ContextSync) -> Any:
        session = durable_session()
        stays = session.get(f"{api.url}/jump/1", allow_redirects=False)
        goes = session.get(f"{api.url}/jump/3")
        return [stays.status_code, goes.text, [hop.status_code for hop in goes.history], goes.url]

    result = await run(f)
    assert result.output == [302, "landed", [302, 302, 302], f"{api.url}/jump/0"]
    assert api.stats.paths == {"/jump/3": 1, "/jump/2": 1, "/jump/1": 2, "/jump/0": 1}


async def test_bodies_of_every_kind(run: Any, api: Any) -> None:
    def f(ctx: stepwell.ContextSync) -> Any:
        session, url = durable_session(), f"{api.url}/echo"
        sent = [
            session.post(url, data=iter([b"one,", b"two"])),
            session.post(url, data={"a": "1 2"}),
            session.put(url, json={"a": 1}),
            session.post(url, data=io.BytesIO(b"file")),
            session.post(url, data="x", headers={"Idempotency-Key": "mine", "stepwell-retries": "0"}),
            session.delete(url),
        ]
        found = [response.json() for response in sent]
        names = [name.lower() for name, _ in found[4]["headers"]]
        keys = [value for name, value in found[4]["headers"] if name.lower() == "idempotency-key"]
        return [[item["body"] for item in found], [item["method"] for item in found], keys, "stepwell-retries" in names]

    result = await run(f)
    bodies, methods, keys, leaked = result.output
    assert bodies == ["one,two", "a=1+2", '{"a": 1}', "file", "x", ""]
    assert methods == ["POST", "POST", "PUT", "POST", "POST", "DELETE"]
    assert keys == ["mine"]
    assert not leaked


async def test_the_request_is_what_a_plain_client_sends(run: Any, api: Any) -> None:
    sent: dict[str, Any] = {"files": {"f": ("a.txt", b"text")}, "data": {"k": "v"}, "auth": ("me", "secret")}

    def ask(session: requests.Session) -> Any:
        seen = session.post(f"{api.url}/echo?q=1", headers={"X-Mine": "ä".encode()}, **sent).json()
        gone = {"idempotency-key", "content-length", "connection"}
        headers = sorted([name.lower(), value.partition("boundary")[0]] for name, value in seen["headers"])
        return [[pair for pair in headers if pair[0] not in gone], len(seen["body"])]

    def f(ctx: stepwell.ContextSync) -> Any:
        return [ask(durable_session()), ctx.step.run("plain", ask, requests.Session())]

    result = await run(f)
    assert result.status == "completed", result.output
    durable, plain = result.output
    assert durable == plain


async def test_transport_errors_are_requests_own(run: Any, api: Any, refused: str) -> None:
    def kind(session: requests.Session, url: str) -> list[Any]:
        with pytest.raises(requests.RequestException) as caught:
            session.get(url, timeout=0.2)
        cause = caught.value.__cause__
        assert isinstance(cause, stepwell.FetchError)
        assert caught.value.request is not None
        return [type(caught.value).__name__, cause.kind, cause.attempts]

    def f(ctx: stepwell.ContextSync) -> Any:
        session = durable_session(retry=2)
        return [kind(session, refused), kind(session, f"{api.url}/slow")]

    result = await run(f)
    assert result.output == [["ConnectionError", "connect", 2], ["ReadTimeout", "timeout", 2]]
    assert api.stats.paths == {"/slow": 2}


async def test_an_error_that_is_not_caught_is_final(run: Any, refused: str) -> None:
    passes: list[int] = []

    def f(ctx: stepwell.ContextSync) -> Any:
        passes.append(1)
        durable_session(retry=1).get(refused)

    result = await run(f, retries=5)
    assert result.status == "failed"
    assert result.output["name"] == "ConnectionError"
    assert len(passes) == 2


async def test_without_a_fallback_a_plain_request_is_an_error(run: Any, api: Any) -> None:
    def ask() -> str:
        with pytest.raises(stepwell.StepUsageError) as caught:
            durable_session(fallback=None).get(f"{api.url}/health")
        return str(caught.value)

    def f(ctx: stepwell.ContextSync) -> Any:
        return [ctx.step.run("ask", ask), durable_session(fallback=None).get(f"{api.url}/weather").status_code]

    assert "made outside of a run" in await asyncio.to_thread(ask)
    inside, status = (await run(f)).output
    assert "made inside the step 'ask'" in inside
    assert status == 200


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))])
async def test_a_copy_of_a_session_is_durable_too(run: Any, api: Any, copied: Any) -> None:
    session = copied(durable_session(None, retry=3, at_most_once=True))
    adapter = copied(DurableAdapter(HTTPAdapter(max_retries=2)))

    def f(ctx: stepwell.ContextSync) -> Any:
        return session.get(f"{api.url}/weather", params={"city": "Rome"}).json()["city"]

    assert (await run(f)).output == "Rome"
    with pytest.raises(stepwell.StepUsageError, match="fallback=None forbids a plain one"):
        session.get(api.url)
    with requests.Session() as plain:
        plain.mount("http://", adapter)
        assert (await asyncio.to_thread(plain.get, f"{api.url}/weather")).status_code == 200
    assert api.stats.paths == {"/weather": 2}


async def test_a_thread_of_ones_own_knows_of_no_run(run: Any, api: Any) -> None:
    def f(ctx: stepwell.ContextSync) -> Any:
        with ThreadPoolExecutor(1) as pool:
            plain = pool.submit(durable_session().post, f"{api.url}/echo", b"x").result()
            with pytest.raises(stepwell.StepUsageError, match="outside of a run"):
                pool.submit(durable_session(None).post, f"{api.url}/echo", b"x").result()
        return plain.json()["body"]

    assert (await run(f)).output == "x"
    assert api.keys("/echo") == [None], "it is no step"


async def test_the_fallback_gets_plain_requests_without_our_headers(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[requests.PreparedRequest] = []

    class Watched(HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
            seen.append(request.copy())
            return super().send(request, *args, **kwargs)

    def ask() -> int:
        with durable_session(Watched()) as session:
            headers = {"stepwell-retries": "0", "Authorization": f"Bearer {stepwell.secret('MY_KEY')}"}
            return session.get(f"{api.url}/weather", headers=headers).status_code

    monkeypatch.setenv("MY_KEY", "hush")
    monkeypatch.setenv("STEPWELL_SECRETS_HOSTS", "MY_KEY=127.0.0.1")
    assert await asyncio.to_thread(ask) == 200
    assert "stepwell-retries" not in seen[0].headers
    assert seen[0].headers["Authorization"] == "Bearer hush"


async def test_in_an_async_function_it_is_an_error(run: Any, api: Any) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        with pytest.raises(stepwell.StepUsageError, match="sync client was used in an async function"):
            durable_session().get(f"{api.url}/weather")
        with pytest.raises(stepwell.StepUsageError, match="sync client was used in an async function"):
            await asyncio.to_thread(durable_session().get, f"{api.url}/weather")
        return "refused"

    assert (await run(f)).output == "refused"
    assert api.stats.total == 0


async def test_what_can_not_be_durable_says_why(run: Any, api: Any) -> None:
    def endless() -> Any:
        while True:
            yield bytes(1 << 20)

    def f(ctx: stepwell.ContextSync) -> Any:
        session = durable_session()
        with pytest.raises(stepwell.StepUsageError, match="does not end within 33554432 bytes"):
            session.post(f"{api.url}/echo", data=endless())
        with pytest.raises(stepwell.StepUsageError, match="a websocket can not be durable"):
            session.get(f"{api.url}/echo", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
        return "refused"

    assert (await run(f)).output == "refused"
    assert api.stats.total == 0


async def test_a_large_body_comes_from_beside_the_state(run: Any, api: Any) -> None:
    def f(ctx: stepwell.ContextSync) -> Any:
        sent = "x" * 600_000
        return durable_session().post(f"{api.url}/echo", data=sent).json()["body"] == sent

    assert (await run(f)).output is True


def test_a_bad_policy_is_refused_when_the_adapter_is_made() -> None:
    with pytest.raises(ValueError, match="attempts"):
        DurableAdapter(retry=0)
    assert isinstance(DurableAdapter().poolmanager, urllib3.PoolManager)
