"""Credentials of every kind go out, and are nowhere to be found afterwards: files, logs, API, pages, traces, command line."""

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from stepwell.wire.secrets import reference
from tests.crash.platform_process import PlatformProcess
from tests.e2e.ugly import Call, Endpoint, ops, returned, until
from tests.telemetry.receivers import Collector, serving

BY_REFERENCE = "ref-5b1d0c77e2a94f"
OPENAI = "sk-lit-8f2e6d19c3b7"
GATEWAY = "gw-lit-41aa90de77f2"
SHELL = "sh-lit-c0ffee12d4e8"
NPM = "npm-lit-90b1d5e2c7aa"
SENT = (BY_REFERENCE, OPENAI, GATEWAY, SHELL)
COOKIE = "ck-lit-77ab03f1d5c9"
QUERY = "qu-lit-d1ce09b85a3e"
OWN = [COOKIE, QUERY]
"""Come back from the upstream, in a header and in the URL: the app gets its own results whole, nobody else does."""
ALL = (*SENT, NPM, *OWN)
APP = Path(__file__).with_name("secrets_app.py")
PROBE = Path(__file__).with_name("secret_probe.mjs")


def spellings(value: str) -> list[bytes]:
    """The value as text, and as it looks inside of base64, wherever it begins."""
    inner = [base64.b64encode(b"x" * shift + value.encode())[4 * (shift > 0) : -4] for shift in range(3)]
    return [value.encode(), value.encode("utf-16-le"), *inner]


def found_in(data: bytes) -> list[str]:
    return [value for value in ALL if any(spelling in data for spelling in spellings(value))]


def found_in_files(folder: Path) -> dict[str, list[str]]:
    hits = {str(path.relative_to(folder)): found_in(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
    return {name: values for name, values in hits.items() if values}


@dataclass
class Upstream:
    """Sees every credential. ``gate`` holds the slow answer back; ``asked`` says that somebody waits for it."""

    url: str = ""
    seen: list[str] = field(default_factory=list[str])
    tries: dict[str, int] = field(default_factory=dict[str, int])
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.text()
        headers = dict(request.headers)
        basic = headers.get("Authorization", "").removeprefix("Basic ")
        decoded = base64.b64decode(basic).decode() if basic != headers.get("Authorization", "") else ""
        self.seen.append(" ".join([request.raw_path, *headers.values(), decoded]))
        tries = self.tries[request.path] = self.tries.get(request.path, 0) + 1
        if request.path == "/slow":
            self.asked.set()
            await self.gate.wait()
        if request.path.startswith("/flaky") and tries < 3:
            return web.Response(status=503, text="later")
        if request.path == "/refused" or '"refused"' in body:
            return web.json_response({"error": {"message": "Incorrect API key provided"}}, status=401)
        if request.path == "/echo":
            return web.json_response(headers | {"path": request.raw_path}, headers={"X-Echo": headers["X-Other"]})
        message = {"role": "assistant", "content": "Hello you"}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "sample", "choices": choices}
        return web.json_response(answer, headers={"Set-Cookie": f"session={COOKIE}"} if request.path == "/slow" else {})


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", made.handle)
    async with TestServer(app) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made
        made.gate.set()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    """Of spans, and its address."""
    found = Collector()
    with serving(found.handle) as url:
        yield found, url


@pytest.fixture
async def process(
    tmp_path: Path, upstream: Upstream, collector: tuple[Collector, str]
) -> AsyncIterator[PlatformProcess]:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector[1],
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "UPSTREAM": upstream.url,
        "LITERAL_OPENAI": OPENAI,
        "STEPWELL_SECRET_API_KEY": BY_REFERENCE,
        "STEPWELL_SECRETS_HOSTS": "API_KEY=127.0.0.1",
    }
    made = PlatformProcess(APP, tmp_path / "stepwell.db", env, "--retry-interval", "50ms")
    await made.start()
    yield made
    await made.stop()


def typescript_style(upstream: Upstream) -> Endpoint:
    """An app as the npm SDK would be: one request with a literal key and a reference, in a Gateway op."""

    async def answer(call: Call, _request: web.Request) -> web.StreamResponse:
        if call["steps"]:
            return returned(sorted(call["steps"]["g"]))
        headers = {"authorization": f"Bearer {GATEWAY}", "x-other": reference("API_KEY")}
        opts = {"url": f"{upstream.url}/slow?api_key={QUERY}", "method": "POST", "headers": headers, "body": GATEWAY}
        return ops({"op": "Gateway", "id": "g", "displayName": "gateway", "opts": opts})

    return Endpoint(answer)


async def register(process: PlatformProcess, endpoint: Endpoint) -> None:
    body = {"appName": "bare", "url": endpoint.url, "sdk": "js:v4", "framework": "", "v": "0.1"}
    body |= {"functions": endpoint.functions(2)}  # pyright: ignore[reportAssignmentType]
    async with aiohttp.ClientSession() as session, session.post(f"{process.url}/fn/register", json=body) as response:
        assert response.status == 200, await response.text()


async def wait_for(process: PlatformProcess, event_id: str) -> dict[str, Any]:
    """The one run of an event, once it has ended."""
    for _ in range(100):
        runs = (await process.get(f"/v1/events/{event_id}/runs"))["data"]
        if runs and runs[0]["ended_at"]:
            return runs[0]
        await asyncio.sleep(0.1)
    raise TimeoutError(f"the run of {event_id} has not ended")


async def shell(process: PlatformProcess, folder: Path, *arguments: str) -> bytes:
    """What a command of the CLI prints, errors too."""
    command = [str(Path(sys.executable).with_name("stepwell")), *arguments, "--port", str(process.port)]
    command += ["--db", f"sqlite:///{process.db}"]
    made = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=dict(os.environ)
    )
    out, _ = await asyncio.wait_for(made.communicate(), 30)
    assert made.returncode == 0, out.decode()
    return out


async def pages(process: PlatformProcess, runs: dict[str, dict[str, Any]]) -> dict[str, bytes]:
    """Every page of the API and of the dashboard that is about the runs."""
    paths = ["/v1/runs", "/dev", "/health"]
    for event_id, run in runs.items():
        base = f"/v1/runs/{run['run_id']}"
        old = f"/v0/runs/{run['run_id']}"
        paths += [base, f"{base}/steps", f"{old}/actions", f"{old}/batch", f"/v1/events/{event_id}"]
        steps = (await process.get(f"{base}/steps"))["data"]
        paths += ["/", f"/runs/{run['run_id']}", *(f"/runs/{run['run_id']}?step={step['id']}" for step in steps)]
    async with aiohttp.ClientSession() as session:
        found: dict[str, bytes] = {}
        for path in paths:
            async with session.get(process.url + path) as response:
                assert response.status == 200, path
                found[path] = await response.read()
    return found


async def spans_of(collector: Collector, *functions: str) -> bytes:
    """All spans, once those of the runs of these functions are there, and of requests that they made."""
    wanted = {f"run {function}" for function in functions}
    await until(lambda: wanted <= {span.name for span in collector.spans}, 20)
    assert any(span.name in ("GET", "POST") and span.kind == 3 for span in collector.spans)
    return b"".join(span.SerializeToString() for span in collector.spans)


async def test_no_credential_is_found_anywhere(
    process: PlatformProcess, upstream: Upstream, collector: tuple[Collector, str], tmp_path: Path
) -> None:
    async with typescript_style(upstream).serving() as endpoint:
        await register(process, endpoint)
        gateway, ref, literal, broken = await process.send(
            [{"name": name, "data": {}} for name in ("go", "reference", "literal", "broken")]
        )
        runs = {event_id: await wait_for(process, event_id) for event_id in (ref, literal, broken)}
        await asyncio.wait_for(upstream.asked.wait(), 20)
        assert found_in_files(tmp_path) == {}  # while the request is under way, its copy is stored
        upstream.gate.set()
        runs[gateway] = await wait_for(process, gateway)
    printed = await shell(
        process, tmp_path, "fetch", f"{upstream.url}/flaky/shell", "-H", f"Authorization: Bearer {SHELL}"
    )
    printed += await shell(process, tmp_path, "runs")
    for run in runs.values():
        printed += await shell(process, tmp_path, "runs", run["run_id"])
    for path, page in (await pages(process, runs)).items():
        assert found_in(page) == (OWN if path == f"/v0/runs/{runs[gateway]['run_id']}/actions" else []), path
    assert found_in(printed) == []
    names = ["bare-f", *(f"credentials-{name}" for name in ("reference", "literal", "broken"))]
    assert found_in(await spans_of(collector[0], *names)) == []

    # all of it did go out, and the runs ended as they should
    assert [run["status"] for run in runs.values()] == ["Completed", "Completed", "Failed", "Completed"]
    seen = "\n".join(upstream.seen)
    assert all(value in seen for value in (*SENT, QUERY))
    assert f"me:{BY_REFERENCE}" in seen
    echoed, *rest = runs[ref]["output"]
    assert echoed["X-Other"] == "*" * len(BY_REFERENCE)
    assert rest[:3] == [200, 401, "guard"]
    assert runs[literal]["output"] == ["Hello you", 401]
    assert upstream.tries["/flaky/reference"] == upstream.tries["/flaky/shell"] == 3

    await process.kill()  # so that the log of the database stays beside it
    assert {path.name for path in tmp_path.iterdir()} >= {
        "stepwell.db",
        "stepwell.db-wal",
        "stepwell.db.key",
        "stepwell.log",
    }
    assert found_in_files(tmp_path) == {}
    offline = await shell(process, tmp_path, "runs", runs[literal]["run_id"])
    assert b"Completed" in offline or b"completed" in offline
    assert found_in(offline) == []
    assert found_in_files(tmp_path) == {}


@pytest.mark.node
async def test_no_credential_of_the_npm_sdk_is_found_anywhere(
    process: PlatformProcess, upstream: Upstream, collector: tuple[Collector, str], tmp_path: Path
) -> None:
    env = {**os.environ, "INNGEST_DEV": process.url, "UPSTREAM": upstream.url, "LITERAL_NPM": NPM}
    node = await asyncio.create_subprocess_exec("node", str(PROBE), env=env, stdout=asyncio.subprocess.PIPE)
    try:
        assert node.stdout is not None
        url = (await asyncio.wait_for(node.stdout.readline(), 30)).decode().strip()
        async with aiohttp.ClientSession() as session, session.put(url) as synced:
            assert synced.status == 200, await synced.text()
        (asked,) = await process.send([{"name": "asks", "data": {}}])
        await asyncio.wait_for(upstream.asked.wait(), 20)
        assert found_in_files(tmp_path) == {}  # while the request is under way, its copy is stored
        upstream.gate.set()
        run = await wait_for(process, asked)
    finally:
        node.terminate()
        await asyncio.wait_for(node.wait(), 20)
    assert (run["status"], run["output"]) == ("Completed", [200, 200])
    assert sum(NPM in seen for seen in upstream.seen) == 4
    for path, page in (await pages(process, {asked: run})).items():
        own = [NPM, COOKIE] if path.endswith("/actions") else []  # the URL and a header of its own results
        assert found_in(page) == own, path
    assert found_in(await shell(process, tmp_path, "runs", run["run_id"])) == []
    assert found_in(await spans_of(collector[0], "typescript-asks")) == []
    await process.kill()
    assert found_in_files(tmp_path) == {}


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"..." + OPENAI.encode() + b"...")
    (tmp_path / "b").write_bytes(base64.b64encode(f"user:{GATEWAY}!".encode()))
    (tmp_path / "c").write_bytes(msgspec.msgpack.encode({"k": SHELL}) + json.dumps(BY_REFERENCE).encode())
    (tmp_path / "d").write_bytes(b"nothing")
    assert found_in_files(tmp_path) == {"a": [OPENAI], "b": [GATEWAY], "c": [BY_REFERENCE, SHELL]}
