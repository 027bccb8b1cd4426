"""The app's endpoint in an aiohttp.web application."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stepwell.frameworks.common import METHODS, TOO_LARGE, mounted
from stepwell.sdk.client import Client
from stepwell.sdk.functions import Function
from stepwell.sdk.serve import Handler, Reply
from stepwell.wire.constants import MAX_REQUEST_BYTES
from stepwell.wire.headers import lower

if TYPE_CHECKING:
    from aiohttp import web


def serve(
    app: "web.Application",
    client: Client,
    functions: Sequence[Function] | None = None,
    path: str | None = None,
    *,
    serve_origin: str | None = None,
    serve_path: str | None = None,
) -> None:
    """Serve the functions (default: all of the client's) at ``path`` of ``app``, default ``/api/stepwell``.

    The application's ``client_max_size`` does not hold there. ``serve_origin``, ``serve_path``: where the platform
    reaches that, as in :class:`stepwell.sdk.serve.Handler`.
    """
    from aiohttp import web

    handler = Handler(client, functions, "aiohttp", serve_origin=serve_origin, serve_path=serve_path)

    async def endpoint(request: web.Request) -> web.Response:
        status, headers, body = await _answer(handler, request)
        return web.Response(status=status, headers=headers, body=body)

    async def cleanup(_: web.Application) -> None:
        await handler.close()

    for method in METHODS:
        app.router.add_route(method, mounted(path, serve_path), endpoint)
    app.on_cleanup.append(cleanup)


async def _answer(handler: Handler, request: "web.Request") -> Reply:
    body = bytearray()
    async for chunk in request.content.iter_any():  # read() would hold to client_max_size, 1 MiB by default
        body += chunk
        if len(body) > MAX_REQUEST_BYTES:
            return TOO_LARGE
    headers = lower(request.headers.items())
    return await handler.handle(request.method, str(request.url), headers, bytes(body), request)
