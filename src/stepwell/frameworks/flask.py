"""The app's endpoint in a Flask application. Async functions run on one event loop in a background thread."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from stepwell.frameworks.common import METHODS, TOO_LARGE, mounted
from stepwell.frameworks.loop_thread import BlockingHandler
from stepwell.sdk.client import Client
from stepwell.sdk.functions import Function
from stepwell.sdk.serve import Handler, Reply
from stepwell.wire.constants import MAX_REQUEST_BYTES
from stepwell.wire.headers import lower

if TYPE_CHECKING:
    from flask import Flask, Request, Response


def serve(
    app: "Flask",
    client: Client,
    functions: Sequence[Function] | None = None,
    path: str | None = None,
    *,
    serve_origin: str | None = None,
    serve_path: str | None = None,
) -> BlockingHandler:
    """Serve the functions (default: all of the client's) at ``path`` of ``app``, default ``/api/stepwell``.

    ``serve_origin``, ``serve_path``: where the platform reaches that, as in :class:`stepwell.sdk.serve.Handler`.
    Returns what runs them; its ``close()`` ends their thread, which is a daemon.
    """
    from flask import request

    handler = Handler(client, functions, "flask", serve_origin=serve_origin, serve_path=serve_path)
    blocking = BlockingHandler(handler)

    def endpoint() -> "Response":
        # The request itself, not the thread's view of it: middleware runs in another thread.
        status, headers, content = _answer(blocking, cast(Any, request)._get_current_object())  # noqa: SLF001
        return app.response_class(content, status=status, headers=headers)

    app.add_url_rule(mounted(path, serve_path), "stepwell", endpoint, methods=list(METHODS))
    return blocking


def _answer(blocking: BlockingHandler, request: "Request") -> Reply:
    if (request.content_length or 0) > MAX_REQUEST_BYTES:
        return TOO_LARGE
    body = request.get_data(cache=False)
    return blocking.handle(request.method, request.url, lower(request.headers.items()), body, request)
