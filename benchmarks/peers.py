"""What the benchmarks talk to, in a process of its own: an upstream, and a bare endpoint that speaks the protocol."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import msgspec
import uvicorn

from stepwell.server.host import new_loop
from stepwell.wire.ids import step_hash

BODY = b"x" * 1024
LARGE_BYTES = 100_000_000
_PART = bytes(range(256)) * 1024
_HEADERS = [(b"content-type", b"application/json"), (b"x-inngest-sdk", b"bench:v1"), (b"x-inngest-req-version", b"2")]
_IDS = [step_hash("s", index) for index in range(1_001)]


CONDITION = "async.data.n == event.data.n"
"""What the function that waits waits for."""
_ended: Counter[str] = Counter()


class _Call(msgspec.Struct):
    steps: dict[str, msgspec.Raw]
    event: dict[str, Any]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """``/up`` is the upstream, ``/large`` one with 100 MB; ``/fn`` the endpoint, whose functions are named in the query.

    ``/ended``: how many runs of one step have ended.
    """
    if scope["type"] != "http":
        return
    if scope["path"] == "/ended":
        await _answer(send, 200, str(_ended["bench-step"]).encode(), [(b"content-type", b"text/plain")])
        return
    if scope["path"] == "/large":
        await _large(send)
        return
    if scope["path"] == "/up":
        await _answer(send, 200, BODY, [(b"content-type", b"text/plain")])
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    status, answer = _function(scope["query_string"].decode(), msgspec.json.decode(body, type=_Call))
    await _answer(send, status, answer, _HEADERS)


def _function(query: str, call: _Call) -> tuple[int, bytes]:
    done = len(call.steps)
    if "bench-fetch" in query:
        if done:
            return 200, b'"done"'
        opts = {"url": call.event["data"]["url"], "method": "GET", "headers": {}}
        op = {"op": "Gateway", "id": _IDS[0], "displayName": "fetch", "data": None, "opts": opts}
        return 206, msgspec.json.encode([op])
    if "bench-wait" in query:
        opts = {"event": "bench.reply", "timeout": "30d", "if": CONDITION}
        op = {"op": "WaitForEvent", "id": _IDS[0], "displayName": "wait", "name": "bench.reply", "opts": opts}
        return (200, b'"done"') if done else (206, msgspec.json.encode([op]))
    if done >= (1 if "bench-step" in query else 300):
        _ended["bench-step"] += "bench-step" in query
        return 200, b'"done"'
    op = {"op": "StepRun", "id": _IDS[done], "displayName": "s", "data": {"n": done}}
    return 206, msgspec.json.encode([op])


async def _large(send: Any) -> None:
    length = (b"content-length", str(LARGE_BYTES).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    left = LARGE_BYTES
    while left:
        part = _PART[:left]
        left -= len(part)
        await send({"type": "http.response.body", "body": part, "more_body": left > 0})


async def _answer(send: Any, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def started() -> Generator[str]:
    """The URL of one in a process of its own."""
    peer = subprocess.Popen([sys.executable, "-m", "benchmarks.peers"], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{peer.stdout.readline().strip() if peer.stdout else ''}"
    finally:
        peer.terminate()
        peer.wait(10)


async def _main() -> None:
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", access_log=False, timeout_keep_alive=60)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await task


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_main())
