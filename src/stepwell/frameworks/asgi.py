"""The app's endpoint for any ASGI server or framework."""

from collections.abc import Sequence

from stepwell.frameworks.asgi_io import App, Receive, Scope, Send, read_body, request_url, send_reply
from stepwell.frameworks.common import NOT_FOUND, TOO_LARGE, mounted
from stepwell.sdk.client import Client
from stepwell.sdk.functions import Function
from stepwell.sdk.serve import Handler


class StepwellApp:
    """An ASGI application that is the endpoint, at whatever path it is mounted."""

    def __init__(
        self,
        client: Client,
        functions: Sequence[Function] | None = None,
        framework: str = "asgi",
        *,
        serve_origin: str | None = None,
        serve_path: str | None = None,
    ) -> None:
        self.handler = Handler(client, functions, framework, serve_origin=serve_origin, serve_path=serve_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return None
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        body = await read_body(receive)
        if body is None:
            return await send_reply(send, TOO_LARGE)
        reply = await self.handler.handle(scope["method"], request_url(scope, headers), headers, body, scope)
        await send_reply(send, reply)
        return None


def serve(
    app: App | None,
    client: Client,
    functions: Sequence[Function] | None = None,
    path: str | None = None,
    *,
    serve_origin: str | None = None,
    serve_path: str | None = None,
) -> App:
    """An ASGI application that serves the functions at ``path`` and hands everything else to ``app`` (None: 404).

    ``serve_origin``, ``serve_path``: where the platform reaches that, as in :class:`stepwell.sdk.serve.Handler`.
    """
    endpoint = StepwellApp(client, functions, serve_origin=serve_origin, serve_path=serve_path)
    at = mounted(path, serve_path).rstrip("/")

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].rstrip("/") == at:
            await endpoint(scope, receive, send)
        elif app is not None:
            await app(scope, receive, send)
        elif scope["type"] == "http":
            await send_reply(send, NOT_FOUND)

    return routed
