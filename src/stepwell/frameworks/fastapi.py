"""The app's endpoint in a FastAPI application; it is kept out of the OpenAPI schema."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stepwell.frameworks import starlette
from stepwell.sdk.client import Client
from stepwell.sdk.functions import Function

if TYPE_CHECKING:
    from fastapi import FastAPI


def serve(
    app: "FastAPI",
    client: Client,
    functions: Sequence[Function] | None = None,
    path: str | None = None,
    *,
    serve_origin: str | None = None,
    serve_path: str | None = None,
) -> None:
    """Serve the functions (default: all of the client's) at ``path`` of ``app``, default ``/api/stepwell``.

    ``serve_origin``, ``serve_path``: where the platform reaches that, as in :class:`stepwell.sdk.serve.Handler`.
    """
    starlette.serve(app, client, functions, path, serve_origin=serve_origin, serve_path=serve_path, framework="fastapi")
