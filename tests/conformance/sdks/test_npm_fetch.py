"""``step.fetch`` of the unmodified npm SDK: policy headers, the bodies it can and can not send, the answers it can take."""

import asyncio
import gzip
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from stepwell.embed import Embedded, embedded
from stepwell.wire.constants import CALLBACK_URL
from tests.ports import free_port

pytestmark = pytest.mark.node
PROBE = Path(__file__).with_name("probe.mjs")


class Server:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[web.Response] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append((request.method, headers, await request.read()))
        await asyncio.sleep(float(request.query.get("sleep", "0")))
        return self.answers.pop(0) if self.answers else web.Response(text="ok")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    app = web.Application()
    app.router.add_route("*", "/", found.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield found
    await runner.cleanup()


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Embedded]:
    port, own = free_port(), free_port()
    env = {**os.environ, "INNGEST_DEV": f"http://127.0.0.1:{port}", "PORT": str(own)}
    node = await asyncio.create_subprocess_exec("node", str(PROBE), env=env, stdout=asyncio.subprocess.PIPE)
    try:
        assert node.stdout is not None
        url = (await asyncio.wait_for(node.stdout.readline(), 30)).decode().strip()
        async with embedded(db=f"sqlite:///{tmp_path / 'p.db'}", port=port, retry_interval=0.05, drain=1) as running:
            config = {
                "id": "probe-probe",
                "triggers": [{"event": "probe"}],
                "steps": {
                    "step": {
                        "id": "step",
                        "name": "step",
                        "runtime": {"type": "http", "url": f"{url}?fnId=probe-probe&stepId=step"},
                        "retries": {"attempts": 3},
                    }
                },
            }
            await running.sync("probe", url, [config], "js:v4")
            yield running
    finally:
        node.terminate()
        await asyncio.wait_for(node.wait(), 20)


async def probe(platform: Embedded, url: str, **data: Any) -> dict[str, Any]:
    [result] = await platform.send_and_wait("probe", {"url": url, **data}, timeout=30)
    assert result.status == "completed", result
    return dict(result.output)


@pytest.mark.parametrize("status", [204, 205, 304])
async def test_answers_without_a_body(platform: Embedded, server: Server, status: int) -> None:
    server.answers = [web.Response(status=status)]
    found = await probe(platform, server.url)
    assert found == {"status": status, "headers": found["headers"], "text": ""}


async def test_retries_and_statuses_by_header(platform: Embedded, server: Server) -> None:
    server.answers = [web.Response(status=418), web.Response(status=418), web.Response(text="tea")]
    headers = {"stepwell-retries": "2", "stepwell-retry-on": "418", "x-own": "kept"}
    found = await probe(platform, server.url, headers=headers)
    assert (found["status"], found["text"]) == (200, "tea")
    assert len(server.seen) == 3
    for _, sent, _ in server.seen:
        assert sent["x-own"] == "kept"
        assert not [name for name in sent if name.startswith("stepwell-")]


async def test_no_retries_by_header(platform: Embedded, server: Server) -> None:
    server.answers = [web.Response(status=503)]
    assert (await probe(platform, server.url, headers={"stepwell-retries": "0"}))["status"] == 503
    assert len(server.seen) == 1


async def test_a_time_out_by_header_is_of_each_attempt(platform: Embedded, server: Server) -> None:
    headers = {"stepwell-timeout": "200ms", "stepwell-retries": "1"}
    found = await probe(platform, f"{server.url}?sleep=20", headers=headers)
    assert found["error"] == "GatewayError"
    assert "sent nothing" in found["message"]
    assert len(server.seen) == 2


async def test_a_deadline_by_header_ends_all_of_it(platform: Embedded, server: Server) -> None:
    found = await probe(platform, f"{server.url}?sleep=20", headers={"stepwell-deadline": "300ms"})
    assert "its time was up" in found["message"]
    assert len(server.seen) == 1


async def test_a_largest_body_by_header(platform: Embedded, server: Server) -> None:
    server.answers = [web.Response(text="x" * 5_000)]
    found = await probe(platform, server.url, headers={"stepwell-max-body": "4KB"})
    assert "larger than the limit of 4000 bytes" in found["message"]
    assert len(server.seen) == 1


async def test_a_job_is_polled_for_by_header(platform: Embedded, server: Server) -> None:
    place = {"Location": server.url, "Retry-After": "0"}
    server.answers = [*(web.Response(status=202, headers=place) for _ in range(2)), web.Response(text="done")]
    body = {"kind": "text", "text": "begin"}
    found = await probe(platform, server.url, method="POST", headers={"stepwell-poll": "true"}, body=body)
    assert (found["status"], found["text"]) == (200, "done")
    assert [(method, sent) for method, _, sent in server.seen] == [("POST", b"begin"), ("GET", b""), ("GET", b"")]


async def test_a_call_back_is_waited_for_by_header(platform: Embedded, server: Server) -> None:
    async def calls() -> None:
        while not server.seen:
            await asyncio.sleep(0.01)
        async with ClientSession() as session, session.post(server.seen[0][2].decode(), data=b"called") as answer:
            assert answer.status == 200

    calling = asyncio.ensure_future(calls())
    body = {"kind": "text", "text": CALLBACK_URL}
    found = await probe(platform, server.url, method="POST", headers={"stepwell-callback": "true"}, body=body)
    await asyncio.wait_for(calling, 20)
    assert (found["status"], found["text"]) == (200, "called")
    assert len(server.seen) == 1


async def test_the_key_is_the_same_for_every_attempt(platform: Embedded, server: Server) -> None:
    server.answers = [web.Response(status=503), web.Response(text="done")]
    found = await probe(platform, server.url, method="POST", body={"kind": "text", "text": "a=1&b=2"})
    assert found["text"] == "done"
    [first, second] = server.seen
    assert first[1]["idempotency-key"] == second[1]["idempotency-key"]
    assert first[2] == second[2] == b"a=1&b=2"


async def test_own_key_and_at_most_once(platform: Embedded, server: Server) -> None:
    server.answers = [web.Response(status=503)]
    headers = {"stepwell-idempotency-key": "order-7", "stepwell-at-most-once": "true"}
    found = await probe(platform, server.url, method="POST", headers=headers, body={"kind": "text", "text": "x"})
    assert found["status"] == 503
    [(_, sent, _)] = server.seen
    assert sent["idempotency-key"] == "order-7"


@pytest.mark.parametrize("follow", [True, False])
async def test_redirects_by_header(platform: Embedded, server: Server, *, follow: bool) -> None:
    server.answers = [web.Response(status=302, headers={"Location": server.url}), web.Response(text="there")]
    found = await probe(platform, server.url, headers={"stepwell-follow-redirects": str(follow).lower()})
    assert found["status"] == (200 if follow else 302)


@pytest.mark.parametrize("kind", ["bytes", "buffer"])
async def test_byte_bodies_are_put_together_again(platform: Embedded, server: Server, kind: str) -> None:
    await probe(platform, server.url, method="POST", body={"kind": kind, "text": "grün"})
    assert server.seen[0][2] == "grün".encode()


async def test_a_form_body_is_refused_by_name(platform: Embedded, server: Server) -> None:
    found = await probe(platform, server.url, method="POST", body={"kind": "form", "text": ""})
    assert "FormData" in found["message"]
    assert not server.seen


async def test_a_binary_answer_is_an_error_that_names_its_type(platform: Embedded, server: Server) -> None:
    server.answers = [web.Response(body=b"\x89PNG\xff\x00", content_type="image/png")]
    found = await probe(platform, server.url)
    assert "image/png" in found["message"]


async def test_an_encoded_answer_arrives_as_text(platform: Embedded, server: Server) -> None:
    packed = {"Content-Encoding": "gzip", "Content-Type": "text/plain"}
    server.answers = [web.Response(body=gzip.compress("grün".encode(), mtime=0), headers=packed)]
    found = await probe(platform, server.url)
    assert found["text"] == "grün"
    assert not {"content-encoding", "content-length", "transfer-encoding"} & found["headers"].keys()
    [(_, sent, _)] = server.seen
    assert sent["accept"] == "*/*"
    assert "gzip" in sent["accept-encoding"]


async def test_a_policy_header_that_makes_no_sense_is_named(platform: Embedded, server: Server) -> None:
    found = await probe(platform, server.url, headers={"stepwell-retries": "many"})
    assert "stepwell-retries" in found["message"]
    assert not server.seen
