"""A thread of its own for the engine and its API, so that user code never runs on the engine's loop."""

import asyncio
import concurrent.futures
import errno
import gc
import logging
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, TypeVar

from stepwell.server.runtime.engine import Engine
from stepwell.server.runtime.loops import end

logger = logging.getLogger("stepwell")

T = TypeVar("T")

_START_S = 30.0
_SWITCH_S = 0.0005
_YOUNG_OBJECTS = 50_000
_WAYS_OUT = {
    errno.EADDRNOTAVAIL: "give an address of this machine with --host",
    socket.EAI_NONAME: "give an address of this machine with --host",
    errno.EACCES: "choose a port of 1024 or above with --port",
}


class HostError(Exception):
    """The platform could not be started; the message says why and what to do."""


@cache
def calm_collector() -> None:
    """Let Python look for cyclic garbage less often, and not among what has been imported. Once for a process.

    Hundreds of requests in flight are many objects that live for a while. By default each few of them have the collector walk
    through all of the heap, modules included: a quarter of the processor's time. A process that has switched the collector
    off, or has set larger thresholds, keeps its own.
    """
    young, *older = gc.get_threshold()
    if not gc.isenabled() or not young:
        return
    gc.freeze()
    gc.set_threshold(max(young, _YOUNG_OBJECTS), *older)


class Host:
    """Owns the thread and its loop; ``build`` makes the engine there, so that everything belongs to that loop."""

    def __init__(self, build: Callable[[], Engine]) -> None:
        self._build = build
        self._ready: concurrent.futures.Future[Engine] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, name="stepwell-engine", daemon=True)
        self.loop: asyncio.AbstractEventLoop = new_loop()
        self.engine: Engine | None = None

    def begin(self) -> Engine:
        """Start the thread and make the engine; it does not work yet.

        Threads of this process take turns more often from here on: user code that computes must not hold up the engine.
        And its garbage is collected less often, see :func:`calm_collector`.
        """
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_S))
        calm_collector()
        self._thread.start()
        self.engine = self._ready.result(_START_S)
        return self.engine

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine on the engine's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the engine's loop, and wait for it on this one."""
        return await asyncio.wrap_future(self.submit(work))

    def end(self) -> None:
        """Stop the loop and the thread. The engine has to be stopped before."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self._make)
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(_cancel_rest())
        finally:
            self.loop.close()

    def _make(self) -> None:
        try:
            self._ready.set_result(self._build())
        except BaseException as problem:  # noqa: BLE001 - raised again where it is waited for
            self._ready.set_exception(problem)


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop: uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises HostError when the address is taken or can not be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as problem:
        listener.close()
        way_out = _WAYS_OUT.get(problem.errno or 0, "stop the program that uses it, or choose another with --port")
        raise HostError(f"Can not listen on {host}:{port}: {problem.strerror or problem}; {way_out}.") from problem
    listener.setblocking(False)
    return listener


async def _cancel_rest() -> None:
    await end([task for task in asyncio.all_tasks() if task is not asyncio.current_task()])
