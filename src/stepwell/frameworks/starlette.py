"""The app's endpoint in a Starlette application."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stepwell.frameworks.asgi import StepwellApp
from stepwell.frameworks.common import METHODS, mounted
from stepwell.sdk.client import Client
from stepwell.sdk.functions import Function

if TYPE_CHECKING:
    from starlette.applications import Starlette


def serve(
    app: "Starlette",
    client: Client,
    functions: Sequence[Function] | None = None,
    path: str | None = None,
    *,
    serve_origin: str | None = None,
    serve_path: str | None = None,
    framework: str = "starlette",
) -> None:
    """Serve the functions (default: all of the client's) at ``path`` of ``app``, default ``/api/stepwell``.

    ``serve_origin``, ``serve_path``: where the platform reaches that, as in :class:`stepwell.sdk.serve.Handler`.
    """
    from starlette.routing import Route

    endpoint = StepwellApp(client, functions, framework, serve_origin=serve_origin, serve_path=serve_path)
    app.router.routes.insert(0, Route(mounted(path, serve_path), endpoint, methods=list(METHODS)))
