"""The app's endpoint in a Litestar application: a route handler, for ``Litestar(route_handlers=[...])``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from stepwell.frameworks.asgi import StepwellApp
from stepwell.frameworks.common import mounted
from stepwell.sdk.client import Client
from stepwell.sdk.functions import Function

if TYPE_CHECKING:
    from litestar.handlers import ASGIRouteHandler


def serve(
    client: Client,
    functions: Sequence[Function] | None = None,
    path: str | None = None,
    *,
    serve_origin: str | None = None,
    serve_path: str | None = None,
) -> "ASGIRouteHandler":
    """A route handler that serves the functions (default: all of the client's) at ``path``, default ``/api/stepwell``.

    Litestar's CSRF protection leaves it out: the platform's calls are signed. ``serve_origin``, ``serve_path``: where the
    platform reaches it, as in :class:`stepwell.sdk.serve.Handler`.
    """
    from litestar.handlers import asgi
    from litestar.types import Receive, Scope, Send

    endpoint = StepwellApp(client, functions, "litestar", serve_origin=serve_origin, serve_path=serve_path)

    async def stepwell(scope: Scope, receive: Receive, send: Send) -> None:
        await endpoint(cast("dict[str, Any]", scope), cast("Any", receive), cast("Any", send))

    return asgi(mounted(path, serve_path), exclude_from_csrf=True, copy_scope=True)(stepwell)
