"""A real platform in a thread, with a hand-made app for `stepwell fetch`, and an upstream to fetch from."""

import base64
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

import msgspec

from stepwell.server.build import build_engine
from stepwell.server.caller.inprocess import InProcessCaller
from stepwell.server.host import Host, bind
from stepwell.server.platform import Platform
from stepwell.server.settings import Settings
from stepwell.wire.builtins import FETCH_EVENT, FETCH_FUNCTION
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.fetch import FetchPolicy, FetchRequest
from stepwell.wire.functions import Registration, parse_registration
from stepwell.wire.gateway import render_gateway
from stepwell.wire.ids import step_hash
from stepwell.wire.ops import Op
from tests.ports import free_port

HUGE = 56 * 1024 * 1024
PLAIN = Random(7).randbytes(1 << 20)
ZIPPED = gzip.compress(PLAIN)


class Upstream(BaseHTTPRequestHandler):
    """/flaky fails twice; /gate answers when it is opened; /echo gives back what came; /missing is a 404."""

    protocol_version = "HTTP/1.1"
    calls: list[tuple[str, str, dict[str, str], bytes]]
    gate: threading.Event

    def answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        self.calls.append((self.command, self.path, dict(self.headers), body))
        if self.path == "/flaky" and sum(call[1] == "/flaky" for call in self.calls) < 3:
            self.reply(503, b"busy")
        elif self.path == "/missing":
            self.reply(404, b"nothing here")
        elif self.path == "/large":
            self.reply(200, bytes(range(256)) * 4096)
        elif self.path == "/huge":
            self.reply(200, bytes(HUGE))
        elif self.path in ("/zipped", "/damaged"):
            self.reply(200, ZIPPED if self.path == "/zipped" else b"?" + ZIPPED, "gzip")
        elif self.path == "/gate":
            self.gate.wait(20)
            self.reply(200, b"through the gate")
        else:
            self.reply(200, b"hello " + body)

    def reply(self, status: int, body: bytes, coding: str | None = None) -> None:
        self.send_response(status)
        if coding is not None:
            self.send_header("Content-Encoding", coding)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "session=s3cret")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815 - the standard library asks for these names

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def upstream() -> Iterator[tuple[str, type[Upstream]]]:
    handler = type("Handler", (Upstream,), {"calls": [], "gate": threading.Event()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        handler.gate.set()
        server.shutdown()
        server.server_close()


async def fetch_app(request: CallRequest) -> Answer:
    """What the function behind `stepwell fetch` does, in terms of the wire."""
    if request.current:
        return Answer(kind=AnswerKind.RETURNED, data=b'{"status":200}', req_version=2)
    data = msgspec.json.decode(request.events[0])["data"]
    wanted = FetchRequest(
        url=data["url"],
        method=data["method"],
        headers=tuple((name, value) for name, value in data["headers"]),
        body=base64.b64decode(data["body"]) if "body" in data else None,
        policy=FetchPolicy(attempts=data.get("attempts", 20)),
        rich=True,
    )
    op = Op(op="Gateway", id=step_hash("request"), name="request", opts=msgspec.Raw(render_gateway(wanted)))
    return Answer(kind=AnswerKind.OPS, ops=[op], req_version=2)


def fetch_registration() -> Registration:
    function = {"id": FETCH_FUNCTION, "name": "fetch", "triggers": [{"event": FETCH_EVENT}]}
    function["steps"] = {
        "step": {"id": "step", "name": "step", "runtime": {"type": "http", "url": "http://in.process/"}}
    }
    body = {"appName": "stepwell-cli", "url": "http://in.process/", "sdk": "test", "functions": [function]}
    return parse_registration(msgspec.json.encode(body))


@contextmanager
def platform(db: Path | None = None, port: int | None = None) -> Iterator[int]:
    """The port of a platform that hosts the fetch function; retries come after 20 ms."""
    number = port or free_port()
    settings = Settings(
        port=number, db=f"sqlite:///{db}" if db else "memory:", retry_interval_ms=20, discovery=False, drain_s=0
    )
    host = Host(lambda: build_engine(settings))
    running = Platform(host.begin(), settings)
    caller = InProcessCaller(fetch_app, host.loop)
    host.submit(running.start([(fetch_registration(), caller)], bind("127.0.0.1", number))).result(20)
    try:
        yield number
    finally:
        host.submit(running.stop(0)).result(20)
        host.end()
