"""Jobs that take longer than a request: polled for, and called back."""

import asyncio
import base64
import gzip
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import stepwell
from stepwell.core import polling
from stepwell.core.flow.host_rules import parse_hosts
from stepwell.transports.httpx2 import AsyncDurableTransport
from stepwell.wire.constants import MAX_FETCH_BODY, MAX_REQUEST_BYTES
from tests.e2e.ugly import api, bare, finish, ops, platform, returned, until

JOB_KEY = "job-key-6f1c9a"
Handler = Callable[[Any], Awaitable[Any]]


class Jobs:
    """An upstream whose jobs are done after some polls, or that calls back."""

    def __init__(self) -> None:
        self.left = 3
        self.refused = 0
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.answers: list[tuple[int, Any]] = []
        self.early = False
        self.calls_back = True
        self.status = 202
        self.gate = asyncio.Event()
        self.urls: list[str] = []
        self.url = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, request: web.Request) -> web.Response:
        self._see(request)
        return web.Response(status=202, headers={"Location": "/jobs/7", "Retry-After": "0"})

    async def job(self, request: web.Request) -> web.Response:
        self._see(request)
        self.left -= 1
        if self.left == 1:
            return web.Response(status=503)
        if self.left > 0:
            return web.Response(status=202)
        return web.Response(status=303, headers={"Location": "/result"})

    async def bare(self, request: web.Request) -> web.Response:
        self._see(request)
        self.refused -= 1
        return web.Response(status=503 if self.refused >= 0 else 202)

    async def result(self, request: web.Request) -> web.Response:
        self._see(request)
        return web.json_response({"sum": 42})

    async def hook(self, request: web.Request) -> web.Response:
        self._see(request)
        body = await request.json()
        self.urls.append(body["notify"])
        if self.early:
            await self.call(body["notify"])
        elif self.calls_back:
            self._tasks.append(asyncio.ensure_future(self._later(body["notify"])))
        return web.Response(status=self.status)

    async def _later(self, url: str) -> None:
        await self.gate.wait()
        await self.call(url)

    async def call(self, url: str, body: bytes = b'{"done":true}', headers: dict[str, str] | None = None) -> int:
        timeout = aiohttp.ClientTimeout(total=10)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=io.BytesIO(body), headers={"X-Job": "7", **(headers or {})}) as response,
        ):
            self.answers.append((response.status, await response.text()))
            return response.status

    def _see(self, request: web.Request) -> None:
        self.seen.append((request.method, request.path, {k.lower(): v for k, v in request.headers.items()}))


@pytest.fixture
async def jobs() -> AsyncIterator[Jobs]:
    made = Jobs()
    app = web.Application()
    app.add_routes(
        [
            web.post("/jobs", made.start),
            web.route("*", "/bare", made.bare),
            web.get("/jobs/7", made.job),
            web.get("/result", made.result),
            web.post("/hook", made.hook),
        ]
    )
    async with TestServer(app) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made
        made.gate.set()


def function(handler: Handler) -> stepwell.Client:
    client = stepwell.Client("app")
    client.create_function(fn_id="f", trigger=stepwell.TriggerEvent(event="go"), retries=2)(handler)
    return client


async def test_a_202_is_followed_to_the_end_of_the_job(tmp_path: Path, jobs: Jobs) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        answer = await ctx.step.fetch(
            f"{jobs.url}/jobs", method="POST", json={"n": 1}, headers={"Authorization": "Bearer x"}, poll=True, id="job"
        )
        return [answer.status_code, answer.json()]

    async with platform(tmp_path, function(f)) as running:
        event = await running.send("go", {})
        result = await finish(running, event)
        _, _, steps = await api(running, "GET", f"/v1/runs/{result.run_id}/steps")
    assert result.output == [200, {"sum": 42}]
    assert [(method, path) for method, path, _ in jobs.seen] == [
        ("POST", "/jobs"), ("GET", "/jobs/7"), ("GET", "/jobs/7"), ("GET", "/jobs/7"), ("GET", "/result")
    ]  # fmt: skip
    assert all("idempotency-key" not in headers and "content-type" not in headers for _, _, headers in jobs.seen[1:])
    assert {headers.get("authorization") for _, _, headers in jobs.seen} == {"Bearer x"}
    (step,) = steps["data"]
    assert [(a["number"], a["status"]) for a in step["attempts"]] == [(0, 202), (1, 202), (2, 503), (3, 200)]
    assert step["attempts"][0]["reason"] == "status 202: the job goes on"


async def test_a_202_without_a_place_is_the_response_also_after_a_retry(tmp_path: Path, jobs: Jobs) -> None:
    jobs.refused = 1

    async def f(ctx: stepwell.Context) -> Any:
        return (await ctx.step.fetch(f"{jobs.url}/bare", method="POST", poll=True, deadline=20)).status_code

    async with platform(tmp_path, function(f)) as running:
        assert (await finish(running, await running.send("go", {}))).output == 202
    assert [(method, path) for method, path, _ in jobs.seen] == [("POST", "/bare")] * 2


async def test_polling_goes_on_after_a_restart(tmp_path: Path, jobs: Jobs) -> None:
    jobs.left = 1_000

    async def f(ctx: stepwell.Context) -> Any:
        return (await ctx.step.fetch(f"{jobs.url}/jobs", method="POST", poll=True, id="job")).json()

    async with platform(tmp_path, function(f)) as running:
        event = await running.send("go", {})
        await until(lambda: len(jobs.seen) > 3)
    jobs.left = 1
    async with platform(tmp_path, function(f)) as running:
        assert (await finish(running, event)).output == {"sum": 42}
    assert [path for _, path, _ in jobs.seen].count("/jobs") == 1, "the job is begun once"


async def test_the_deadline_ends_a_job(tmp_path: Path, jobs: Jobs) -> None:
    jobs.left = 1_000_000

    async def f(ctx: stepwell.Context) -> Any:
        try:
            await ctx.step.fetch(f"{jobs.url}/jobs", method="POST", poll=True, deadline=0.4, id="job")
        except stepwell.FetchError as error:
            return error.kind

    async with platform(tmp_path, function(f)) as running:
        assert (await finish(running, await running.send("go", {}))).output == "timeout"


@pytest.mark.parametrize("held_back", [True, False])
async def test_a_day_ends_a_job_without_a_deadline(
    tmp_path: Path, jobs: Jobs, held_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose next poll is held back by the limits of its host, or fails and would be tried again."""
    monkeypatch.setattr(polling, "JOB_MS", 1_500)
    jobs.left = 1_000_000 if held_back else 2

    async def f(ctx: stepwell.Context) -> Any:
        try:
            await ctx.step.fetch(
                f"{jobs.url}/jobs", method="POST", poll=True, id="job", retry=stepwell.Retry(attempts=9)
            )
        except stepwell.FetchError as error:
            return error.kind

    rules = parse_hosts({jobs.url.removeprefix("http://"): {"rate": "1/1h"}}) if held_back else ()
    async with platform(tmp_path, function(f), hosts=rules, retry_interval_ms=60_000) as running:
        result = await finish(running, await running.send("go", {}))
    assert (result.status, result.output) == ("completed", "timeout" if held_back else None)
    assert len(jobs.seen) == (1 if held_back else 2)


async def test_a_call_back_is_the_response(tmp_path: Path, jobs: Jobs) -> None:
    jobs.gate.set()

    async def f(ctx: stepwell.Context) -> Any:
        answer = await ctx.step.fetch(
            f"{jobs.url}/hook", method="POST", json={"notify": stepwell.CALLBACK_URL}, callback=True, id="job"
        )
        return [answer.status_code, answer.json(), answer.headers["x-job"], answer.headers["stepwell-method"]]

    async with platform(tmp_path, function(f)) as running:
        result = await finish(running, await running.send("go", {}))
        assert result.output == [200, {"done": True}, "7", "POST"]
        await until(lambda: bool(jobs.answers))
        (url,) = jobs.urls
        assert await jobs.call(url, b"again") == 200, "who lost the answer may ask again"
        assert await jobs.call(f"{url[:-1]}{'A' if url[-1] != 'A' else 'B'}") == 404
        assert await jobs.call(f"{running.url}/v1/callbacks/nonsense") == 404
        assert (await running.run(result.run_id)).output == result.output
    assert len(jobs.seen) == 1


async def test_a_call_back_that_is_too_large_is_refused_and_the_run_waits_on(tmp_path: Path, jobs: Jobs) -> None:
    jobs.calls_back = False

    async def f(ctx: stepwell.Context) -> Any:
        ask: Any = {"method": "POST", "json": {"notify": stepwell.CALLBACK_URL}, "callback": True}
        return len((await ctx.step.fetch(f"{jobs.url}/hook", **ask, id="job")).content)

    async with platform(tmp_path, function(f)) as running:
        event = await running.send("go", {})
        await until(lambda: bool(jobs.urls))
        assert await jobs.call(jobs.urls[0], bytes(MAX_REQUEST_BYTES + 1)) == 413
        assert await jobs.call(jobs.urls[0], bytes(MAX_REQUEST_BYTES)) == 200
        assert (await finish(running, event)).output == MAX_REQUEST_BYTES == 32 * 2**20


async def test_a_call_back_that_is_a_bomb_is_refused_and_another_one_is_taken(tmp_path: Path, jobs: Jobs) -> None:
    jobs.calls_back = False

    async def f(ctx: stepwell.Context) -> Any:
        options = {"method": "POST", "json": {"notify": stepwell.CALLBACK_URL}, "callback": True, "id": "job"}
        return (await ctx.step.fetch(f"{jobs.url}/hook", **options)).text

    async with platform(tmp_path, function(f)) as running:
        event = await running.send("go", {})
        await until(lambda: bool(jobs.urls))
        encoded = {"Content-Encoding": "gzip"}
        assert await jobs.call(jobs.urls[0], gzip.compress(bytes(MAX_FETCH_BODY + 1), 1), encoded) == 413
        assert await jobs.call(jobs.urls[0], gzip.compress(b"done"), encoded) == 200
        assert (await finish(running, event)).output == "done"


async def test_what_a_call_back_repeats_of_secrets_is_taken_out(
    tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWELL_SECRET_JOB_KEY", JOB_KEY)
    monkeypatch.setenv("STEPWELL_SECRET_GONE", "for a while")
    hosts = "JOB_KEY=127.0.0.1; GONE+body=127.0.0.1"
    jobs.calls_back = False

    async def f(ctx: stepwell.Context) -> Any:
        answer = await ctx.step.fetch(
            f"{jobs.url}/hook",
            method="POST",
            json={"notify": stepwell.CALLBACK_URL, "gone": stepwell.secret("GONE"), "more": "x" * 2_000},
            auth=("user", stepwell.secret("JOB_KEY")),
            callback=True,
            id="job",
        )
        return [answer.text, answer.headers["x-echo"]]

    pair = base64.b64encode(f"user:{JOB_KEY}".encode())
    async with platform(tmp_path, function(f), secrets_hosts=hosts) as running:
        event = await running.send("go", {})
        await until(lambda: bool(jobs.urls))
        assert jobs.seen[0][2]["authorization"] == f"Basic {pair.decode()}"
        monkeypatch.delenv("STEPWELL_SECRET_GONE")
        bomb = gzip.compress(bytes(MAX_FETCH_BODY + 1), 1)
        assert await jobs.call(jobs.urls[0], bomb, {"Content-Encoding": "gzip"}) == 413
        body = b"told " + JOB_KEY.encode() + b" and " + pair
        assert (
            await jobs.call(jobs.urls[0], gzip.compress(body), {"X-Echo": JOB_KEY, "Content-Encoding": "gzip"}) == 200
        )
        text, echo = (await finish(running, event)).output
        assert text == f"told {'*' * len(JOB_KEY)} and {'*' * len(pair)}"
        assert echo == stepwell.secret("JOB_KEY")


async def test_a_call_back_before_the_response(tmp_path: Path, jobs: Jobs) -> None:
    jobs.early = True

    async def f(ctx: stepwell.Context) -> Any:
        answer = await ctx.step.fetch(
            f"{jobs.url}/hook", method="POST", json={"notify": stepwell.CALLBACK_URL}, callback=True, id="job"
        )
        return [answer.json(), await ctx.step.run("after", lambda: 1)]

    async with platform(tmp_path, function(f)) as running:
        assert (await finish(running, await running.send("go", {}))).output == [{"done": True}, 1]
    assert jobs.answers[0][0] == 200


async def test_a_call_back_after_a_restart(tmp_path: Path, jobs: Jobs) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        return (
            await ctx.step.fetch(
                f"{jobs.url}/hook", method="POST", json={"notify": stepwell.CALLBACK_URL}, callback=True, id="job"
            )
        ).text

    jobs.calls_back = False
    async with platform(tmp_path, function(f)) as running:
        event = await running.send("go", {})
        (run_id,) = await running._host.ask(running._host_engine().runs_of(event))

        async def waits() -> bool:
            _, _, steps = await api(running, "GET", f"/v1/runs/{run_id}/steps")
            return (
                bool(steps["data"]) and steps["data"][0]["status"] == "Waiting" and bool(steps["data"][0]["attempts"])
            )

        await until(waits)
    async with platform(tmp_path, function(f)) as running:
        token = jobs.urls[0].rpartition("/")[2]
        assert await jobs.call(f"{running.url}/v1/callbacks/{token}", b"late but good") == 200
        assert (await finish(running, event)).output == "late but good"


async def test_no_call_back_in_time_and_a_refused_request(tmp_path: Path, jobs: Jobs) -> None:
    jobs.calls_back = False

    async def f(ctx: stepwell.Context) -> Any:
        jobs.status = 400
        ask: Any = {"method": "POST", "json": {"notify": stepwell.CALLBACK_URL}, "callback": True}
        refused = await ctx.step.fetch(f"{jobs.url}/hook", **ask, id="refused")
        jobs.status = 202
        try:
            await ctx.step.fetch(f"{jobs.url}/hook", **ask, id="silent", deadline=0.3)
        except stepwell.FetchError as error:
            return [refused.status_code, error.kind, str(error)]

    async with platform(tmp_path, function(f)) as running:
        result = await finish(running, await running.send("go", {}))
        status, kind, text = result.output
        assert (status, kind) == (400, "timeout")
        assert "did not call back in time" in text
        assert [await jobs.call(url) for url in jobs.urls] == [410, 410], "nobody is told that it was received"


async def test_what_can_not_be_called_back_says_so(tmp_path: Path, jobs: Jobs) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        try:
            await ctx.step.fetch(f"{jobs.url}/hook", method="POST", json={}, callback=True)
        except stepwell.FetchError as error:
            return f"{error.kind}: {error}"

    async with platform(tmp_path / "a", function(f)) as running:
        said = (await finish(running, await running.send("go", {}))).output
        assert said.startswith("invalid: "), "unknown is what may have been sent"
        assert "stepwell.CALLBACK_URL" in said
    async with stepwell.embedded(function(f), db="memory:") as running:
        (result,) = await running.send_and_wait("go", timeout=20)
        assert "STEPWELL_PUBLIC_URL" in result.output
    with pytest.raises(stepwell.StepUsageError, match="only a run can wait"):
        stepwell.fetch(jobs.url, poll=True)


async def test_from_any_sdk_and_through_a_client(tmp_path: Path, jobs: Jobs) -> None:
    async def f(ctx: stepwell.Context) -> Any:
        async with httpx2.AsyncClient(transport=AsyncDurableTransport()) as client:
            return (await client.post(f"{jobs.url}/jobs", headers={"stepwell-poll": "true"})).json()

    async with platform(tmp_path / "a", function(f)) as running:
        assert (await finish(running, await running.send("go", {}))).output == {"sum": 42}
    jobs.gate.set()

    async def answer(call: Any, request: web.Request) -> web.StreamResponse:
        if call["steps"]:
            return returned(call["steps"])
        headers = {"stepwell-callback": "true", "content-type": "application/json"}
        body = json.dumps({"notify": stepwell.CALLBACK_URL})
        opts = {"url": f"{jobs.url}/hook", "method": "POST", "headers": headers, "body": body}
        return ops({"op": "Gateway", "id": "a" * 40, "displayName": "hook", "opts": opts})

    async with bare(tmp_path / "b", answer) as rig:
        result = await rig.run()
    data = result.output["a" * 40]["data"]
    assert (data["body"], data["status_code"], data["headers"]["X-Job"]) == ('{"done":true}', 200, "7")
