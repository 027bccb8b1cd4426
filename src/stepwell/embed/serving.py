"""What ``stepwell dev`` and ``stepwell serve`` run."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TextIO

import msgspec
from msgspec.structs import replace

from stepwell.embed.platform import Embedded
from stepwell.sdk.client import Client
from stepwell.sdk.drivers.giveup import parked
from stepwell.server.host import HostError, bind, new_loop
from stepwell.server.settings import Settings
from stepwell.server.stopping import leave, told_to_stop
from stepwell.server.store.base import StoreError
from stepwell.wire.builtins import FETCH_FUNCTION
from stepwell.wire.masks import mask_url

logger = logging.getLogger("stepwell")


def serve_forever(settings: Settings, clients: Sequence[Client]) -> int:
    """Run the platform until it is told to stop; the exit code. Errors are one line on standard error."""
    try:
        listener = bind(settings.host, settings.port)
    except HostError as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return 1
    settings = replace(settings, port=listener.getsockname()[1])  # a free one was chosen where it was 0
    loop = new_loop()
    try:
        code = loop.run_until_complete(_serve(settings, clients, listener))
    finally:
        listener.close()
    if parked():
        leave(code)  # their code swallows every end, and would go on swallowing while Python takes everything down
    loop.close()
    return code


async def _serve(settings: Settings, clients: Sequence[Client], listener: socket.socket) -> int:
    platform = Embedded(settings, clients)
    stop = asyncio.Semaphore(0)
    try:
        with told_to_stop(stop, settings.drain_s):
            await platform.start(listener)
            _banner(settings, clients)
            await stop.acquire()
            _tell(settings, "stopping: waiting for what is in flight (again to stop at once)")
            stopping = asyncio.ensure_future(platform.stop())
            again = asyncio.ensure_future(stop.acquire())
            await asyncio.wait([stopping, again], return_when=asyncio.FIRST_COMPLETED)
            again.cancel()
            if not stopping.done():
                return 130
            if not stopping.result():
                _tell(settings, "some work did not end in time; it goes on at the next start")
    except StoreError as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return 1
    return 0


def _tell(settings: Settings, text: str) -> None:
    if settings.log_format == "json":
        logger.info(text)
    else:
        _say(text, sys.stderr)


def _say(text: str, to: TextIO) -> None:
    """A line; that its reader has left, or the disk is full, is no reason to stop."""
    try:
        print(text, file=to, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), to.fileno())


def _banner(settings: Settings, clients: Sequence[Client]) -> None:
    """What runs where, on standard output: lines for people, or one JSON object."""
    names = [function.id for client in clients for function in client.functions if function.id != FETCH_FUNCTION]
    where = f"stepwell {settings.kind}: {settings.url}, state in {mask_url(settings.db)}"
    if settings.log_format == "json":
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": "platform.started",
            "message": where,
            "kind": settings.kind,
            "url": settings.url,
            "db": mask_url(settings.db),
            "functions": names,
        }
        _say(msgspec.json.encode(line).decode(), sys.stdout)
        return
    _say("\n".join([where, *(f"  function {name}" for name in names)]), sys.stdout)
