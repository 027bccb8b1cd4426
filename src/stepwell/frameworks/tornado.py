"""The app's endpoint in a Tornado application."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stepwell.frameworks.common import METHODS, TOO_LARGE, mounted
from stepwell.sdk.client import Client
from stepwell.sdk.functions import Function
from stepwell.sdk.serve import Handler
from stepwell.wire.constants import MAX_REQUEST_BYTES
from stepwell.wire.headers import lower

if TYPE_CHECKING:
    from tornado.web import Application, RequestHandler


def serve(
    app: "Application",
    client: Client,
    functions: Sequence[Function] | None = None,
    path: str | None = None,
    *,
    serve_origin: str | None = None,
    serve_path: str | None = None,
) -> None:
    """Serve the functions (default: all of the client's) at ``path`` of ``app``, default ``/api/stepwell``.

    XSRF cookies are not asked for there: the platform's calls are signed. ``serve_origin``, ``serve_path``: where the
    platform reaches that, as in :class:`stepwell.sdk.serve.Handler`.
    """
    handler = Handler(client, functions, "tornado", serve_origin=serve_origin, serve_path=serve_path)
    app.add_handlers(".*", [(re.escape(mounted(path, serve_path)), _request_handler(handler))])


def _request_handler(handler: Handler) -> "type[RequestHandler]":
    from tornado.web import RequestHandler

    class Endpoint(RequestHandler):
        SUPPORTED_METHODS = METHODS

        def check_xsrf_cookie(self) -> None:
            pass

        async def answer(self) -> None:
            request = self.request
            reply = TOO_LARGE
            if len(request.body) <= MAX_REQUEST_BYTES:
                headers = lower(request.headers.items())
                reply = await handler.handle(request.method or "", request.full_url(), headers, request.body, request)
            self.set_status(reply[0])
            for name, value in reply[1].items():
                self.set_header(name, value)
            await self.finish(reply[2])  # pyright: ignore[reportUnknownMemberType]

        get = post = put = answer

    return Endpoint
