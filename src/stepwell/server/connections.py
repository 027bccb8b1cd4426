"""Connections of which the other side does not keep to what was said: more comes in than was asked for, or announced."""

from bisect import bisect_left
from functools import partial
from select import POLLIN, poll
from typing import Any

from aiohttp import ClientPayloadError, StreamReader, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import HttpResponseParser, RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.tracing import Trace

_NO_LIMIT = 1 << 30
"""What is parsed is in memory already."""
_HEAD_BYTES = 1 << 20
_FINAL = 200
"""Interim answers have lower statuses (RFC 9110, 15.2)."""

_Messages = list[tuple[RawResponseMessage, StreamReader]]


class QuietConnector(TCPConnector):
    """A connector that uses no connection again on which something came in while nobody asked.

    Servers close idle connections with a 408, and broken ones send an answer twice. aiohttp keeps what came, and the next
    request would get it as its answer, the one after that the next one's, and so on. Others close without a word after
    an answer: what follows at once, such as a redirect's next hop, comes before the event loop has told of that.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)  # pyright: ignore[reportUnknownMemberType]
        self._factory = partial(_Handler, self._loop)

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        while (found := await super()._get(key, traces)) is not None:
            if found.protocol is not None and not found.protocol.should_close and not _speaks(found):
                return found
            found.close()
        return None


def _speaks(connection: Connection) -> bool:
    """Whether the other side has sent something, or its end, that has not been read yet."""
    socket = None if connection.transport is None else connection.transport.get_extra_info("socket")
    if socket is None:
        return False
    polled = poll()
    polled.register(socket.fileno(), POLLIN)
    return bool(polled.poll(0))


class _Handler(ResponseHandler):
    """aiohttp's, with another parser."""

    def set_response_params(self, **params: Any) -> None:
        super().set_response_params(**params)
        self._parser: Any = _Parser(self, self._parser, params)


class _Parser:
    """aiohttp's parser, which loses a whole answer where what follows it in the same read is no HTTP.

    A body that is longer than it was said to be does that, and one after a HEAD or a 204. The answer is given out then, and
    the connection not used again. A head that goes on for more than ``_HEAD_BYTES`` is none.
    """

    __slots__ = ("_given", "_head", "_params", "_protocol", "_real")

    def __init__(self, protocol: ResponseHandler, real: Any, params: dict[str, Any]) -> None:
        self._protocol = protocol
        self._real = real
        self._params = params
        self._given = False
        self._head = 0

    def feed_data(self, data: bytes) -> tuple[_Messages, bool, bytes]:
        try:
            found = self._real.feed_data(data)
        except HttpProcessingError:
            whole = None if self._given else self._whole(bytes(data))
            if whole is None:
                raise
            self._protocol.force_close()
            return [whole], False, b""
        if found[0]:
            self._given = True
        elif not self._given:
            self._head += len(data)
            if self._head > _HEAD_BYTES:
                raise LineTooLong(b"head", _HEAD_BYTES)
        return found

    def feed_eof(self) -> RawResponseMessage | None:
        return self._real.feed_eof()

    def pause_reading(self) -> None:
        self._real.pause_reading()

    def _whole(self, data: bytes) -> tuple[RawResponseMessage, StreamReader] | None:
        """The first answer of ``data``, if it is there up to its end."""
        wrong_from = bisect_left(range(len(data) + 1), True, key=lambda size: self._parsed(data[:size]) is None)
        found = [each for each in self._parsed(data[: wrong_from - 1]) or [] if each[0].code >= _FINAL]
        return found[0] if found and found[0][1].is_eof() else None

    def _parsed(self, data: bytes) -> _Messages | None:
        """The messages that begin in ``data``; None where some of it is no HTTP."""
        given = self._params
        parser = HttpResponseParser(
            self._protocol,
            self._protocol._loop,  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            _NO_LIMIT,
            timer=given["timer"],
            payload_exception=ClientPayloadError,
            response_with_body=not given["skip_payload"],
            read_until_eof=given["read_until_eof"],
            auto_decompress=given["auto_decompress"],
            **{name: value for name, value in given.items() if name.startswith("max_")},
        )
        try:
            return list(parser.feed_data(data)[0])
        except HttpProcessingError:
            return None
