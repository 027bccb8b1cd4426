"""One request on aiohttp's own parts: its connection, the request written, the head of the response read.

What its session adds is decided in core, or not wanted: redirects, cookies, headers that are merged, idempotent requests that
are sent again when a connection breaks.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import ClientResponse, ClientTimeout, ConnectionTimeoutError
from multidict import CIMultiDict
from yarl import URL

from stepwell.server.connections import QuietConnector
from stepwell.server.fetcher.exact import ExactRequest
from stepwell.server.fetcher.networks import Route
from stepwell.server.fetcher.timing import Timing, traces

_EXPECTS_BODY = frozenset({"POST", "PUT", "PATCH"})
_BODILESS = frozenset({"HEAD"})
_READ_BUFFER = 64 * 1024
_MAX_HEADER_BYTES = 64 * 1024
_MAX_HEADERS = 1_000


@dataclass(slots=True, kw_only=True)
class Message:
    """What is sent, and how long each part of it may take. ``data`` None: no body."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    data: bytes | AsyncIterator[bytes] | None
    times: ClientTimeout


async def exchange(connector: QuietConnector, message: Message, route: Route, timing: Timing) -> ClientResponse:
    """The response, of which the head is here; it owns its connection. Raises what aiohttp does, and OSError."""
    request = _request(message, route)
    try:
        connection = await connector.connect(request, traces(timing), message.times)
    except TimeoutError as error:
        raise ConnectionTimeoutError from error
    try:
        protocol = connection.protocol
        assert protocol is not None  # of a connection that was just made, or taken out of the pool
        protocol.set_response_params(
            timer=None,
            skip_payload=message.method in _BODILESS,
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=message.times.sock_read,
            read_bufsize=_READ_BUFFER,
            timeout_ceil_threshold=message.times.ceil_threshold,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
        )
        timing.sending()
        response = await request.send(connection)
        try:
            return await response.start(connection)
        except BaseException:
            response.close()
            raise
    except BaseException:
        connection.close()
        raise


def _request(message: Message, route: Route) -> ExactRequest:
    request = ExactRequest(
        message.method,
        message.url,
        headers=message.headers,
        data=message.data,
        proxy=route.proxy,
        ssl=route.tls or True,
        loop=asyncio.get_running_loop(),
    )
    if message.method not in _EXPECTS_BODY and not request.body:
        request.headers.popall("Content-Length", None)  # nor is an empty one announced, RFC 9110, 8.6
    return request
