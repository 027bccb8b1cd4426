"""Serves an ASGI app with uvicorn on the engine's loop."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
ASGIApp = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class _Server(uvicorn.Server):
    """Signals belong to whoever owns the process."""

    def install_signal_handlers(self) -> None:
        """None."""

    def capture_signals(self) -> Any:
        """None either."""
        import contextlib

        return contextlib.nullcontext()


class Listener:
    """One listening socket and the server behind it."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            ws="websockets-sansio",
            ws_max_size=1 << 16,
        )
        self._server = _Server(config)
        self._socket = listener
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve from now on."""
        self._task = asyncio.get_running_loop().create_task(self._server.serve([self._socket]))
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise RuntimeError("the API server ended before it had begun")
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Finish what is being answered, and close."""
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.wait([self._task], timeout=10)
        self._socket.close()
