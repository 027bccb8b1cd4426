"""``GET /live``: which runs changed, as server-sent events that can be resumed; pages then ask for what they show anew."""

import asyncio
import logging
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from stepwell.server.changes import GATHER_S, MOST, Changes
from stepwell.server.dashboard.facade import WatchedEngine
from stepwell.server.store.base import StoreError

HEARTBEAT_S = 15.0
logger = logging.getLogger("stepwell.dashboard")
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Live:
    """Tells browsers of changes."""

    def __init__(self, engine: WatchedEngine) -> None:
        self._changes = engine.changes

    async def get(self, request: Request) -> Response:
        """From ``Last-Event-ID`` on, or from now; of the run ``run`` only, where it is given."""
        number = _number(self._changes, request.headers.get("last-event-id", ""))
        events = self._events(number, request.query_params.get("run"))
        return StreamingResponse(events, 200, _HEADERS, "text/event-stream")

    async def _events(self, number: int | None, run: str | None) -> AsyncIterator[bytes]:
        changes = self._changes
        last = changes.last if number is None else number
        try:
            await changes.listen(run)
        except StoreError as problem:
            logger.warning("a page hears of this process alone: %s", problem)
            async for event in self._from(last, run):
                yield event
            return
        try:
            async for event in self._from(last, run):
                yield event
        finally:
            changes.leave(run)

    async def _from(self, last: int, run: str | None) -> AsyncIterator[bytes]:
        changes = self._changes
        yield b"retry: 1000\nevent: ready\nid: %s\ndata: {}\n\n" % _id(changes, last)
        while not changes.closed:
            if changes.last == last:
                await changes.wait(last, HEARTBEAT_S)
            if changes.last == last:
                yield b": still here\n\n"
                continue
            await asyncio.sleep(GATHER_S)
            found = changes.since(last)
            last = changes.last
            event = _event(changes, last, found, run)
            if event:
                yield event


def _event(changes: Changes, number: int, found: set[str] | None, run: str | None) -> bytes:
    """``runs``: the changed ones, null for more than can be named. Empty when it is not what the reader watches."""
    if run is not None and found is not None:
        found &= {run}
        if not found:
            return b""
    runs = None if found is None or len(found) > MOST else sorted(found)
    data = msgspec.json.encode({"runs": runs})
    return b"event: changed\nid: %s\ndata: %s\n\n" % (_id(changes, number), data)


def _id(changes: Changes, number: int) -> bytes:
    return f"{changes.epoch}-{number}".encode()


def _number(changes: Changes, last_id: str) -> int | None:
    """What the reader has seen. -1, which is never known, where the id is of another process: it looks at all again."""
    epoch, _, number = last_id.strip().partition("-")
    if not last_id.strip():
        return None
    if epoch == changes.epoch and number.isascii() and number.isdecimal() and len(number) < 16:
        return int(number)
    return -1
