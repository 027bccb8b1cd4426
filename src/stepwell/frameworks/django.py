"""The app's endpoint in a Django project, behind WSGI and ASGI servers alike: a URL pattern."""
# Django ships no types.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, cast

from stepwell.frameworks.common import METHODS, TOO_LARGE, mounted
from stepwell.frameworks.loop_thread import LoopThread
from stepwell.sdk.client import Client
from stepwell.sdk.functions import Function
from stepwell.sdk.serve import Handler, Reply
from stepwell.wire.constants import MAX_REQUEST_BYTES
from stepwell.wire.headers import lower

if TYPE_CHECKING:
    from django.http import HttpResponse
    from django.urls import URLPattern


class _Request(Protocol):
    method: str
    headers: Mapping[str, str]

    def read(self, size: int, /) -> bytes: ...
    def build_absolute_uri(self) -> str: ...


def serve(
    client: Client,
    functions: Sequence[Function] | None = None,
    path: str | None = None,
    *,
    serve_origin: str | None = None,
    serve_path: str | None = None,
) -> "URLPattern":
    """A URL pattern that serves the functions (default: all of the client's) at ``path``, default ``/api/stepwell``.

    It belongs into ``urlpatterns``. Django's CSRF protection and ``DATA_UPLOAD_MAX_MEMORY_SIZE`` leave it out.
    ``serve_origin``, ``serve_path``: where the platform reaches it, as in :class:`stepwell.sdk.serve.Handler`.
    """
    from django.http import HttpResponse
    from django.urls import path as url_pattern
    from django.views.decorators.csrf import csrf_exempt
    from django.views.decorators.http import require_http_methods

    handler = Handler(client, functions, "django", serve_origin=serve_origin, serve_path=serve_path)
    thread = LoopThread()

    async def stepwell(request: _Request) -> "HttpResponse":
        status, headers, body = await _answer(handler, thread, request)
        return HttpResponse(body, status=status, headers=headers)

    view = csrf_exempt(require_http_methods(METHODS)(stepwell))
    return cast("URLPattern", url_pattern(mounted(path, serve_path).lstrip("/"), view, name="stepwell"))


async def _answer(handler: Handler, thread: LoopThread, request: _Request) -> Reply:
    from django.core.handlers.asgi import ASGIRequest

    body = request.read(MAX_REQUEST_BYTES + 1)
    if len(body) > MAX_REQUEST_BYTES:
        return TOO_LARGE
    url, headers = request.build_absolute_uri(), lower(request.headers.items())
    call = handler.handle(request.method, url, headers, body, request)
    if isinstance(request, ASGIRequest):
        return await call
    # Behind WSGI the loop here lives for one request only: suspended runs wait for their next one on the thread's.
    return await asyncio.wrap_future(thread.submit(call))
