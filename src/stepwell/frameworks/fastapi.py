"""The app's endpoint in a FastAPI application; it is kept out of the OpenAPI schema."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stepwell.frameworks import starlette
from stepwell.frameworks.asgi import PATH
from stepwell.sdk.client import Client
from stepwell.sdk.functions import Function

if TYPE_CHECKING:
    from fastapi import FastAPI


def serve(app: "FastAPI", client: Client, functions: Sequence[Function] | None = None, path: str = PATH) -> None:
    """Serve the functions (default: all of the client's) at ``path`` of ``app``."""
    starlette.serve(app, client, functions, path, framework="fastapi")
