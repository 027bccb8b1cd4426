"""The app's endpoint for any ASGI server or framework."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from stepwell.sdk.client import Client
from stepwell.sdk.functions import Function
from stepwell.sdk.serve import Handler, Reply
from stepwell.wire.constants import MAX_REQUEST_BYTES

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
PATH = "/api/stepwell"
METHODS = ("GET", "POST", "PUT")


class StepwellApp:
    """An ASGI application that is the endpoint, at whatever path it is mounted."""

    def __init__(self, client: Client, functions: Sequence[Function] | None = None, framework: str = "asgi") -> None:
        self.handler = Handler(client, functions, framework)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        body = await _read(receive)
        if body is None:
            await _reply(send, (413, {"content-type": "text/plain"}, b"the request's body is too large"))
            return
        await _reply(send, await self.handler.handle(scope["method"], _url(scope, headers), headers, body))


def serve(
    app: Callable[[Scope, Receive, Send], Awaitable[None]] | None,
    client: Client,
    functions: Sequence[Function] | None = None,
    path: str = PATH,
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """An ASGI application that serves the functions at ``path`` and hands everything else to ``app`` (None: 404)."""
    endpoint = StepwellApp(client, functions)

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].rstrip("/") == path.rstrip("/"):
            await endpoint(scope, receive, send)
        elif app is not None:
            await app(scope, receive, send)
        elif scope["type"] == "http":
            await _reply(send, (404, {"content-type": "text/plain"}, b"not found"))

    return routed


def _url(scope: Scope, headers: dict[str, str]) -> str:
    host = headers.get("host") or ":".join(map(str, scope.get("server") or ("localhost",)))
    query = scope.get("query_string", b"").decode("latin-1")
    return f"{scope.get('scheme', 'http')}://{host}{scope['path']}{'?' + query if query else ''}"


async def _read(receive: Receive) -> bytes | None:
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


async def _reply(send: Send, reply: Reply) -> None:
    status, headers, body = reply
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
