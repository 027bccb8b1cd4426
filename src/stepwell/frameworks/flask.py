"""The app's endpoint in a Flask application. Async functions run on one event loop in a background thread."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from stepwell.sdk.client import Client
from stepwell.sdk.functions import Function
from stepwell.sdk.serve import Handler
from stepwell.wire.constants import CALL_TIMEOUT_S

if TYPE_CHECKING:
    from flask import Flask, Response

T = TypeVar("T")
PATH = "/api/stepwell"


class LoopThread:
    """An event loop in a daemon thread, started on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for its result, up to the longest time that a call may take."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="stepwell-flask", daemon=True)
                self._thread.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CALL_TIMEOUT_S)

    def close(self) -> None:
        """Stop the loop."""
        with self._lock:
            loop, thread, self._loop = self._loop, self._thread, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def serve(app: "Flask", client: Client, functions: Sequence[Function] | None = None, path: str = PATH) -> LoopThread:
    """Serve the functions (default: all of the client's) at ``path`` of ``app``. Returns the thread that runs them."""
    from flask import request

    handler = Handler(client, functions, "flask")
    thread = LoopThread()

    def endpoint() -> "Response":
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = request.get_data(cache=False)
        status, answered, content = thread.run(handler.handle(request.method, request.url, headers, body))
        return app.response_class(content, status=status, headers=answered)

    app.add_url_rule(path, "stepwell", endpoint, methods=["GET", "POST", "PUT"])
    return thread
