"""The app's endpoint in a Starlette application."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stepwell.frameworks.asgi import METHODS, PATH, StepwellApp
from stepwell.sdk.client import Client
from stepwell.sdk.functions import Function

if TYPE_CHECKING:
    from starlette.applications import Starlette


def serve(
    app: "Starlette",
    client: Client,
    functions: Sequence[Function] | None = None,
    path: str = PATH,
    *,
    framework: str = "starlette",
) -> None:
    """Serve the functions (default: all of the client's) at ``path`` of ``app``."""
    from starlette.routing import Route

    endpoint = StepwellApp(client, functions, framework)
    app.router.routes.insert(0, Route(path, endpoint, methods=list(METHODS)))
