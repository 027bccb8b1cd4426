"""``GET /v1/runs/{run}/steps/{step}/stream``: a response's body as it arrives, as server-sent events, then the record."""

import base64
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from stepwell.core.model import RunView, Step
from stepwell.server.api.auth import require_bearer
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.masks import mask_gateway
from stepwell.server.api.problems import Problem
from stepwell.server.api.queries import ulid_param
from stepwell.server.settings import Settings
from stepwell.server.store.base import StoreError
from stepwell.server.streams import Channel, Key
from stepwell.wire.ai import parse_ai_memo
from stepwell.wire.fetch import FetchResponse
from stepwell.wire.memos import BadMemo, parse_memo
from stepwell.wire.ops import Opcode

HEARTBEAT_S = 15.0
"""A comment is sent after so long a silence, so that proxies keep the connection."""
CHUNK = 128 * 1024
"""Bytes in one event: lines of a stream are read whole."""
_SOON_S = 0.5
_APART_S = 2.0
"""What other processes record is not told of here: it is looked for."""
logger = logging.getLogger("stepwell.api")
_PLACE = re.compile(r"(\d{1,15})-(\d{1,15})")
_OFFSET = re.compile(r"\d{1,15}")
_OVER = "end"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_REQUESTS = frozenset({Opcode.GATEWAY, Opcode.AI_GATEWAY})
_BEAT = b": still here\n\n"


@dataclass(slots=True)
class _Reader:
    """How far one reader is. ``mark`` names the attempt whose bytes it has; None while it has none."""

    view: RunView
    step_id: str
    offset: int
    mark: int | None

    @property
    def key(self) -> Key:
        return self.view.run.run_id, self.step_id

    @property
    def step(self) -> Step | None:
        return self.view.steps.get(self.step_id)

    def fits(self, mark: int) -> bool:
        """Whether the attempt goes on from what the reader has."""
        return self.mark in (None, mark)


class StepStreams:
    """Serves streams; what a reader has missed of a channel it gets from the record."""

    def __init__(self, engine: EngineFacade, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    async def get(self, request: Request) -> Response:
        """The stream from ``Last-Event-ID`` or ``?offset=`` on. 204 when the reader has everything already."""
        require_bearer(self._settings, request.scope)
        view = await self._engine.view(ulid_param(request, "run_id"))
        if view is None:
            raise Problem(404, f"There is no run {request.path_params['run_id']}.", code="run_unknown")
        step = _find(view, str(request.path_params["step"]))
        last = request.headers.get("last-event-id", "").strip()
        if last == _OVER:
            return Response(status_code=204)
        reader = _Reader(view, step.step_id, *_place(last, request.query_params.get("offset")))
        return StreamingResponse(self._events(reader), 200, _HEADERS, "text/event-stream")

    async def _events(self, reader: _Reader) -> AsyncIterator[bytes]:
        """With what arrives at other processes, where these can be heard."""
        afar = self._engine.streams.afar
        try:
            if afar is not None:
                await afar.listen(reader.key)
        except StoreError as problem:
            logger.warning("a reader hears of this process alone: %s", problem)
            afar = None
        try:
            async for event in self._here(reader, HEARTBEAT_S if afar is None else _APART_S):
                yield event
        finally:
            if afar is not None:
                afar.leave(reader.key)

    async def _here(self, reader: _Reader, pause: float) -> AsyncIterator[bytes]:
        streams = self._engine.streams
        while not streams.closed:
            reader.view = await self._engine.view(reader.key[0]) or reader.view
            step = reader.step
            if step is None or step.ended:
                async for event in self._record(reader, step):
                    yield event
                return
            if reader.view.run.status.ended:
                yield _event("error", _OVER, {"message": "the run has ended before the request was done"})
                return
            channel = streams.get(reader.key)
            if channel is not None:
                pause = _SOON_S
                async for event in _follow(reader, channel):
                    yield event
                if channel.broken is not None or not reader.fits(channel.mark):
                    return
            # The record may have been made while the last event was sent: a reader of a channel looks again soon.
            await streams.changed(reader.key, pause)
            yield _BEAT

    async def _record(self, reader: _Reader, step: Step | None) -> AsyncIterator[bytes]:
        """What is missing, out of the record."""
        try:
            found, ref = _recorded(step)
        except BadMemo:
            error = msgspec.Raw(step.memo if step and step.memo else b"null")
            yield _event("error", _OVER, {"message": "the request got no response", "result": error})
            return
        mark = step.attempts[-1].started_at if step and step.attempts else 0
        if not reader.fits(mark):
            yield _started_anew(mark)
            return
        if reader.mark is None:
            yield _head(mark, found)
        async for piece in self._pieces(found.body, ref, reader.offset):
            reader.offset += len(piece)
            yield _chunk(mark, reader.offset, piece)
        yield _event("end", _OVER, {"size": reader.offset, "status": found.status})

    async def _pieces(self, body: bytes, ref: str | None, offset: int) -> AsyncIterator[bytes]:
        while True:
            end = offset + CHUNK
            piece = body[offset:end] if ref is None else await self._engine.body(ref, offset, end)
            if not piece:
                return
            yield piece
            offset += len(piece)


async def _follow(reader: _Reader, channel: Channel) -> AsyncIterator[bytes]:
    """The bytes of an attempt in flight, until it is over, broken, or the reader is too slow."""
    if not reader.fits(channel.mark):
        yield _started_anew(channel.mark)
        return
    if reader.mark is None:
        yield _head(channel.mark, channel.head)
        reader.mark = channel.mark
    while not channel.lost(reader.offset):
        piece = (await channel.read(reader.offset, HEARTBEAT_S))[:CHUNK]
        if piece:
            reader.offset += len(piece)
            yield _chunk(channel.mark, reader.offset, piece)
        elif not channel.ended:
            yield _BEAT
        else:
            break
    if channel.broken is not None:
        message = f"the response broke off after {channel.size} bytes ({channel.broken}); what was sent of it is void"
        yield _event("error", "0-0", {"message": message, "again": True})


def _recorded(step: Step | None) -> tuple[FetchResponse, str | None]:
    memo = (step.memo if step else None) or b"null"
    return (parse_ai_memo(memo), None) if step and step.op == Opcode.AI_GATEWAY else parse_memo(memo)


def _find(view: RunView, name: str) -> Step:
    """The request with this id, or else the first of this name."""
    steps = [step for step in view.steps.values() if name in (step.step_id, step.name)]
    steps.sort(key=lambda step: (step.step_id != name, step.number))
    if not steps:
        raise Problem(404, f"Run {view.run.run_id} has no step {name[:80]!r}.", code="step_unknown")
    if steps[0].op not in _REQUESTS:
        raise Problem(400, f"Step {name[:80]!r} is no request: only responses can be streamed.", code="no_request")
    return steps[0]


def _place(last: str, offset: str | None) -> tuple[int, int | None]:
    """Where to go on: ``<attempt>-<offset>`` of an event's id, or a bare offset into whatever attempt there is."""
    found = _PLACE.fullmatch(last)
    if found is not None:
        return int(found[2]), int(found[1]) or None
    if last or (offset and not _OFFSET.fullmatch(offset)):
        raise Problem(400, "Last-Event-ID is the id of an earlier event, and offset a number of bytes.")
    return int(offset or 0), None


def _head(mark: int, head: FetchResponse) -> bytes:
    shown = {"status": head.status, "url": head.url, "headers": head.headers}
    return _event("head", f"{mark}-0", mask_gateway(msgspec.Raw(msgspec.json.encode(shown))))


def _chunk(mark: int, offset: int, data: bytes) -> bytes:
    """Text where the bytes are UTF-8, else base64. Its id says what the reader has then."""
    try:
        body = {"text": data.decode()}
    except UnicodeDecodeError:
        body = {"b64": base64.b64encode(data).decode()}
    return _event("chunk", f"{mark}-{offset}", body)


def _started_anew(mark: int) -> bytes:
    message = "the response broke off and the request was sent again; what was sent of it is void: begin anew"
    return _event("error", "0-0", {"message": message, "again": True, "attempt": mark})


def _event(name: str, place: str, data: object) -> bytes:
    return b"event: %s\nid: %s\ndata: %s\n\n" % (name.encode(), place.encode(), msgspec.json.encode(data))
