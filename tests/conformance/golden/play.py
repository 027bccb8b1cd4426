"""Puts the requests of the golden files to an SDK, with a platform that takes its events and registrations."""

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock

from stepwell.wire.signing import verify
from tests.conformance.golden.functions import declare, declare_few
from tests.conformance.golden.libs import EVENT, Lib, connect, hashed, without_variables
from tests.conformance.golden.requests import FALLBACK, KEY, Ask

FIXED = ("content-type", "retry-after", "x-inngest-env", "x-inngest-expected-server-kind", "x-inngest-no-retry",
         "x-inngest-req-version", "x-inngest-sdk-handled", "x-inngest-sync-kind")  # fmt: skip
"""The headers that the protocol fixes."""
STATE: dict[str, Any] = {
    "actions": {hashed("one"): {"data": 7}},
    "batch": [EVENT, {**EVENT, "id": "e9"}],
}
"""What the platform keeps of a run whose state is too large for a call."""
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Intake(ThreadingHTTPServer):
    """A platform that takes everything; ``taken`` is what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taker)
        self.taken: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Taker(BaseHTTPRequestHandler):
    server: Intake

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        names = ("x-inngest-env", "x-inngest-expected-server-kind", "x-inngest-sync-kind", "authorization")
        kept = {name: self.headers[name] for name in names if name in self.headers}
        members = json.loads(raw)
        self.server.taken.append({"path": self.path, "headers": kept, "body": members})
        registered = self.path.startswith("/fn/register")
        said = {"ok": True, "modified": True} if registered else {"ids": ["1", "2"], "status": 200}
        self._say(said)

    def _say(self, said: Any) -> None:
        answer = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        self.server.taken.append({"path": self.path, "headers": {}, "body": {}})
        self._say(STATE[self.path.rpartition("/")[2]])

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def intake() -> Iterator[Intake]:
    """The platform, for as long as the block."""
    server = Intake()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def answer(lib: Lib, ask: Ask, platform: Intake) -> dict[str, Any]:
    """What the SDK answers, as the golden files have it."""
    platform.taken.clear()
    with without_variables(), mock.patch.dict(os.environ, ask.environ):
        where = {"api_base_url": platform.url, "event_api_base_url": platform.url}
        declared = declare if ask.method == "POST" else declare_few
        app = lib.app(declared, **{"event_key": "k"} | where | ask.settings)
        async with connect(app) as client:
            got = await client.request(ask.method, ask.url, content=ask.content, headers=ask.sent_headers())
    found: dict[str, Any] = {
        "status": got.status_code,
        "headers": {name: got.headers[name] for name in FIXED if name in got.headers},
        "body": plain(json.loads(got.content)) if got.content else None,
    }
    if signature := got.headers.get("x-inngest-signature"):
        now = int(signature[2:].split("&")[0])
        signers = {
            name for name, key in (("key", KEY), ("fallback", FALLBACK)) if verify(got.content, signature, key, now)
        }
        found["signed with"] = sorted(signers)
    if platform.taken:
        found["sent"] = sorted(plain(platform.taken), key=lambda sent: sent["path"])
    return found


def plain(value: Any, key: str = "") -> Any:
    """JSON without what differs from time to time: stack traces, and instants near now as seconds from now."""
    if isinstance(value, dict):
        return {name: plain(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if key == "stack" and isinstance(value, str):
        return "<stack>"
    if key == "ts" and isinstance(value, int) and value > 1_750_000_000_000:
        return "<now>"
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        away = (datetime.fromisoformat(value) - datetime.now(UTC)).total_seconds()
        return f"<now + {round(away)} s>" if abs(away) < 3600 else value
    return value
