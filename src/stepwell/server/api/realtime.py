"""``/v1/realtime/*``: tokens, publishing, and the two ways to read along (protocol 1.9)."""

import asyncio
import codecs
import contextlib
from collections.abc import AsyncIterator, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from stepwell.server.api.auth import require_bearer
from stepwell.server.api.body import READ_TIMEOUT_S, header, parse, read_body
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import Problem, bare
from stepwell.server.realtime.hub import Subscription, closing
from stepwell.server.realtime.texts import TextStream, TooManyChunks
from stepwell.server.realtime.tokens import BadToken, Grant, Tokens
from stepwell.server.settings import Settings
from stepwell.server.store.base import StoreError
from stepwell.wire.jsons import decode
from stepwell.wire.realtime import (
    MAX_CHUNK,
    MAX_MESSAGE,
    MAX_TEE,
    RESERVED,
    TEXT_STREAM,
    Topic,
    as_json,
    message,
)

HEARTBEAT_S = 15.0
_SEND_S = 30.0
_MAX_TOPICS = 1_000
_MAX_ASKED = 1 << 20
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_TRY_AGAIN = 1013


class Realtime:
    """Serves it. ``now``: ms."""

    def __init__(self, engine: EngineFacade, settings: Settings, now: Callable[[], int]) -> None:
        self._engine = engine
        self._settings = settings
        self._now = now
        self._tokens = Tokens(settings.signing_keys, now)

    def routes(self) -> list[BaseRoute]:
        """Where each is mounted."""
        return [
            Route("/v1/realtime/token", self.token, methods=["POST"]),
            Route("/v1/realtime/publish", self.publish, methods=["POST"]),
            Route("/v1/realtime/publish/tee", self.tee, methods=["POST"]),
            Route("/v1/realtime/sse", self.sse, methods=["GET"]),
            WebSocketRoute("/v1/realtime/connect", self.connect),
        ]

    async def token(self, request: Request) -> Response:
        """A token for the topics of the body; with ``?publish=true`` one to write to them."""
        require_bearer(self._settings, request.scope)
        topics = _asked(await read_body(request.scope, request.receive, _MAX_ASKED))
        made = self._tokens.make(topics, publish=request.query_params.get("publish") == "true")
        return bare({"jwt": made}, 201)

    async def publish(self, request: Request) -> Response:
        """One message, or the pieces of a text as they come, to each ``topic`` of the ``channel``."""
        places = _places(request)
        self._may_write(request, places)
        if (header(request.scope, "content-type") or "").partition(";")[0].strip().lower() == TEXT_STREAM:
            await self._stream(request, places)
            return bare({"ok": True})
        body = await read_body(request.scope, request.receive, MAX_MESSAGE)
        try:
            data = as_json(body)
        except UnicodeDecodeError:
            raise Problem(400, "What is published is JSON or text in UTF-8; raw bytes go to /publish/tee.") from None
        more = _members(request)
        for place in places:
            await self._engine.realtime.tell(message("data", place.channel, place.name, data, self._now(), **more))
        return bare({"ok": True})

    async def tee(self, request: Request) -> Response:
        """Bytes as they are, to everybody who reads anything of the channel, as they come."""
        channel = request.query_params.get("channel", "")
        if not channel:
            raise Problem(400, "Say to which channel: ?channel=.")
        self._may_write(request, [])
        left = MAX_TEE
        async for piece in _pieces(request):
            left -= len(piece)
            if left < 0:
                raise Problem(413, f"At most {MAX_TEE} bytes can be passed on in one request.")
            await self._engine.realtime.tee(channel, piece)
        return bare({"ok": True})

    async def sse(self, request: Request) -> Response:
        """The messages as server-sent events; what is teed is passed on as it is."""
        return StreamingResponse(self._events(self._reader(request)), 200, _HEADERS, "text/event-stream")

    async def connect(self, socket: WebSocket) -> None:
        """The messages over a WebSocket, each a text; what is teed as binary. What the reader says is not heeded."""
        try:
            grant = self._reading(socket.query_params.get("token", ""))
        except Problem as problem:
            await socket.send_denial_response(problem.response())
            return
        hub = self._engine.realtime
        reader = hub.subscribe(grant.topics)
        try:
            await self._listen(reader)
            await socket.accept()
            tasks = [asyncio.create_task(self._feed(socket, reader)), asyncio.create_task(_gone(socket))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            hub.leave(reader)

    # inside

    def _reading(self, token: str) -> Grant:
        try:
            grant = self._tokens.read(token)
        except BadToken as problem:
            raise Problem(401, str(problem)) from None
        if grant.publish:
            raise Problem(401, "This token is for publishing: get another one to read.")
        return grant

    def _reader(self, request: Request) -> Subscription:
        return self._engine.realtime.subscribe(self._reading(request.query_params.get("token", "")).topics)

    async def _listen(self, reader: Subscription) -> None:
        """To other processes too. A reader that can not is sent away once it is connected, and comes again."""
        try:
            await self._engine.realtime.listen(reader)
        except StoreError as problem:
            reader.close(f"{problem} Connect again.")

    def _may_write(self, request: Request, places: list[Topic]) -> None:
        """A signing key, or a token with ``publish`` that names all topics."""
        token = (header(request.scope, "authorization") or "").partition(" ")[2].strip()
        if token.count(".") != 2 or not places:
            require_bearer(self._settings, request.scope)
            return
        try:
            grant = self._tokens.read(token)
        except BadToken as problem:
            raise Problem(401, str(problem)) from None
        named = {(topic.channel, topic.name) for topic in grant.topics}
        if not grant.publish or not named.issuperset((place.channel, place.name) for place in places):
            raise Problem(401, "The token does not allow to publish to this topic.")

    async def _stream(self, request: Request, places: list[Topic]) -> None:
        stream = TextStream(self._engine.realtime, places, self._now, _members(request))
        await stream.begin()
        try:
            async for text in _texts(request):
                await stream.piece(text)
                await asyncio.sleep(0)  # a long piece must not look like slow readers
        except TooManyChunks as problem:
            raise Problem(413, str(problem)) from None
        finally:
            await stream.end()

    async def _events(self, reader: Subscription) -> AsyncIterator[bytes]:
        try:
            await self._listen(reader)
            yield b": ready\n\n"
            while True:
                frame = await reader.next(HEARTBEAT_S)
                if frame is not None:
                    yield frame.body if frame.raw else b"data: %s\n\n" % frame.body
                elif reader.closed is not None:
                    yield b"data: %s\n\n" % closing(reader.closed, self._now()).body
                    return
                else:
                    yield b": still here\n\n"
        finally:
            self._engine.realtime.leave(reader)

    async def _feed(self, socket: WebSocket, reader: Subscription) -> None:
        while True:
            frame = await reader.next(HEARTBEAT_S)
            if frame is None and reader.closed is None:
                continue  # the connection's own pings keep it
            last = frame is None
            frame = frame or closing(reader.closed or "", self._now())
            async with asyncio.timeout(_SEND_S):
                await (socket.send_bytes(frame.body) if frame.raw else socket.send_text(frame.body.decode()))
            if last:
                await socket.close(_TRY_AGAIN, reader.closed)
                return


async def _gone(socket: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            heard = await socket.receive()
            if heard["type"] == "websocket.disconnect":
                return


def _asked(body: bytes) -> list[Topic]:
    topics = parse(body, list[Topic], "The topics are")
    if not topics or len(topics) > _MAX_TOPICS or not all(topic.channel and topic.name for topic in topics):
        raise Problem(400, f"Name 1 to {_MAX_TOPICS} topics, each with its `channel` and its `name`.")
    return topics


def _places(request: Request) -> list[Topic]:
    channel = request.query_params.get("channel", "")
    names = [name for name in request.query_params.getlist("topic") if name]
    if not channel or not names or len(names) > _MAX_TOPICS:
        raise Problem(400, "Say where to publish: ?channel=...&topic=...")
    reserved = RESERVED.intersection(names)
    if reserved:
        raise Problem(400, f"The topic {min(reserved)!r} is the platform's own; take another name.")
    return [Topic(channel, name) for name in dict.fromkeys(names)]


def _members(request: Request) -> dict[str, object]:
    """Of a message: the run and the metadata that the publisher gave."""
    found: dict[str, object] = {}
    run_id, metadata = request.query_params.get("run_id"), request.query_params.get("metadata")
    if run_id:
        found["run_id"] = run_id
    if metadata:
        try:
            decode(metadata.encode())
        except ValueError:
            raise Problem(400, "The metadata of a message is JSON.") from None
        found["metadata"] = msgspec.Raw(metadata.encode())
    return found


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes; 408 when nothing comes for a minute."""
    body = request.stream()
    while True:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                piece = await anext(body, None)
        except TimeoutError:
            raise Problem(408, f"Nothing more of the request came for {READ_TIMEOUT_S:g} seconds.") from None
        if piece is None:
            return
        if piece:
            yield piece


async def _texts(request: Request) -> AsyncIterator[str]:
    """The body as text, in pieces of at most 1 KiB, none of which ends within a character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    async for piece in _pieces(request):
        for start in range(0, len(piece), MAX_CHUNK - 3):
            text = decoder.decode(piece[start : start + MAX_CHUNK - 3])
            if text:
                yield text
    if rest := decoder.decode(b"", final=True):
        yield rest
