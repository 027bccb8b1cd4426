"""Requests and answers as ASGI messages."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from stepwell.sdk.serve import Reply
from stepwell.wire.constants import MAX_REQUEST_BYTES

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def request_url(scope: Scope, headers: Mapping[str, str]) -> str:
    """The URL that was asked for, by ``headers`` with lower-case names."""
    host = headers.get("host") or ":".join(map(str, scope.get("server") or ("localhost",)))
    query = scope.get("query_string", b"").decode("latin-1")
    return f"{scope.get('scheme', 'http')}://{host}{scope['path']}{'?' + query if query else ''}"


async def read_body(receive: Receive) -> bytes | None:
    """The whole body; None when it is larger than ``MAX_REQUEST_BYTES``."""
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        more = message["type"] == "http.request" and message.get("more_body", False)
        if size > MAX_REQUEST_BYTES:
            return None
    return b"".join(chunks)


async def send_reply(send: Send, reply: Reply) -> None:
    """Send a whole answer."""
    status, headers, body = reply
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
