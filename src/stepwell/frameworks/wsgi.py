"""The app's endpoint for any WSGI server. Async functions run on one event loop in a background thread."""

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING
from wsgiref.util import request_uri

from stepwell.frameworks.common import NOT_FOUND, TOO_LARGE, mounted
from stepwell.frameworks.loop_thread import BlockingHandler
from stepwell.sdk.client import Client
from stepwell.sdk.functions import Function
from stepwell.sdk.serve import Handler, Reply
from stepwell.wire.constants import MAX_REQUEST_BYTES

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class StepwellApp:
    """A WSGI application that is the endpoint, at whatever path it is mounted. ``close()`` ends its thread, a daemon."""

    def __init__(
        self,
        client: Client,
        functions: Sequence[Function] | None = None,
        framework: str = "wsgi",
        *,
        serve_origin: str | None = None,
        serve_path: str | None = None,
    ) -> None:
        handler = Handler(client, functions, framework, serve_origin=serve_origin, serve_path=serve_path)
        self._blocking = BlockingHandler(handler)
        self.close: Callable[[], None] = self._blocking.close

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request."""
        body = _read(environ)
        if len(body) > MAX_REQUEST_BYTES:
            return _send(start_response, TOO_LARGE)
        url = request_uri(environ)
        reply = self._blocking.handle(environ["REQUEST_METHOD"], url, _headers(environ), body, environ)
        return _send(start_response, reply)


def serve(
    app: "WSGIApplication | None",
    client: Client,
    functions: Sequence[Function] | None = None,
    path: str | None = None,
    *,
    serve_origin: str | None = None,
    serve_path: str | None = None,
) -> "WSGIApplication":
    """A WSGI application that serves the functions at ``path`` and hands everything else to ``app`` (None: 404).

    ``serve_origin``, ``serve_path``: where the platform reaches that, as in :class:`stepwell.sdk.serve.Handler`.
    """
    endpoint = StepwellApp(client, functions, serve_origin=serve_origin, serve_path=serve_path)
    at = mounted(path, serve_path).rstrip("/")

    def routed(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ.get("PATH_INFO", "").rstrip("/") == at:
            return endpoint(environ, start_response)
        return _send(start_response, NOT_FOUND) if app is None else app(environ, start_response)

    return routed


def _headers(environ: "WSGIEnvironment") -> dict[str, str]:
    return {name[5:].lower().replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}


def _read(environ: "WSGIEnvironment") -> bytes:
    """The body, of a too large one only its beginning. One without a length is read where the server ends it."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if not length and environ.get("wsgi.input_terminated"):
        length = MAX_REQUEST_BYTES + 1
    return environ["wsgi.input"].read(min(length, MAX_REQUEST_BYTES + 1))


def _send(start_response: "StartResponse", reply: Reply) -> list[bytes]:
    status, headers, body = reply
    start_response(f"{status} {HTTPStatus(status).phrase}", [*headers.items(), ("content-length", str(len(body)))])
    return [body]
