"""Durable requests for clients made with aiohttp: ``aiohttp.ClientSession(connector=DurableConnector())``."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop
from aiohttp.http import StreamWriter
from aiohttp.payload import BytesIOPayload, BytesPayload

from stepwell.errors import FetchError, StepUsageError
from stepwell.sdk.fetching import Retry, default_id, wire_headers
from stepwell.sdk.steps import Step
from stepwell.sdk.upload import too_long
from stepwell.transports._http1 import framed, response_bytes
from stepwell.transports._plain import plain_request
from stepwell.transports._policy import MAX_BODY, PLAIN, Plain, base_policy, why_not, with_timeouts
from stepwell.transports._scope import durable_step
from stepwell.wire.fetch import FetchPolicy, FetchRequest, FetchResponse

__all__ = ["DurableConnector", "durable_session"]


class DurableConnector(aiohttp.BaseConnector):
    """Makes the requests of an ``aiohttp.ClientSession`` durable steps inside of a run, and leaves them plain elsewhere.

    Args:
        fallback: the connector of the requests made outside of a run and inside of ``step.run``. Default: a plain
            ``aiohttp.TCPConnector``; None makes those requests an error (``StepUsageError``).
        retry: a :class:`stepwell.Retry`, or the number of attempts; default: the function's, and the usual delays.
        deadline: over all attempts of a request: seconds, a ``timedelta`` or a text such as ``"5m"``; default: none.
        at_most_once: never send a request a second time once a byte of it may have left.

    Like every connector it is made where an event loop runs. The responses are real ``ClientResponse`` objects, parsed and
    decoded by aiohttp. Of a ``ClientTimeout``, ``sock_connect`` (else ``connect``) and ``sock_read`` bound the phases of
    each attempt, and ``total`` is what they are without; over all attempts there is ``deadline``. Redirects and
    middlewares are the session's, each request of theirs one of its own. TLS settings and proxies of durable requests are
    those of the platform. A request without a response raises aiohttp's exceptions, with the ``FetchError`` as their
    ``__cause__``.
    """

    def __init__(
        self,
        fallback: aiohttp.BaseConnector | Plain | None = PLAIN,
        *,
        retry: Retry | int | None = None,
        deadline: float | timedelta | str | None = None,
        at_most_once: bool = False,
    ) -> None:
        super().__init__(force_close=True, limit=0)
        self._policy = base_policy(retry, deadline, at_most_once)
        self._plain_allowed = fallback is not None
        self._plain: aiohttp.BaseConnector | None = None if isinstance(fallback, Plain) else fallback

    async def connect(self, req: aiohttp.ClientRequest, traces: Any, timeout: aiohttp.ClientTimeout) -> Connection:
        """Called by the session: a connection over which the recorded response comes, or a plain one."""
        step = durable_step(plain_allowed=self._plain_allowed)
        if step is None:
            _make_plain(req)
            return await self._fallback().connect(req, traces, timeout)
        asked = _Outgoing(req, with_timeouts(self._policy, _phases(timeout)))
        _untimed(req)
        protocol = _Recorded(self._loop)
        try:
            protocol.found = await _exchange(step, asked)
        except FetchError as error:
            protocol.error = _translated(req, error)
            protocol.error.__cause__ = error
            if isinstance(protocol.error, aiohttp.ClientConnectorError):
                raise protocol.error from error
        return Connection(self, req.connection_key, protocol, self._loop)

    def _close(self, **options: Any) -> Any:
        closing = super()._close(**options)
        return [*closing, *(self._plain._close(**options) if self._plain is not None else ())]  # noqa: SLF001

    def _fallback(self) -> aiohttp.BaseConnector:
        if self._plain is None:
            self._plain = aiohttp.TCPConnector(loop=self._loop)
        return self._plain


def durable_session(
    fallback: aiohttp.BaseConnector | Plain | None = PLAIN,
    *,
    retry: Retry | int | None = None,
    deadline: float | timedelta | str | None = None,
    at_most_once: bool = False,
    **options: Any,
) -> aiohttp.ClientSession:
    """A new ``aiohttp.ClientSession`` with a :class:`DurableConnector`; ``options`` are the session's."""
    connector = DurableConnector(fallback, retry=retry, deadline=deadline, at_most_once=at_most_once)
    return aiohttp.ClientSession(connector=connector, **options)


class _Outgoing:
    """A request of aiohttp that is about to become a step. Raises ``StepUsageError`` when it can not be durable."""

    explicit = False

    def __init__(self, req: aiohttp.ClientRequest, policy: FetchPolicy) -> None:
        url = req.url
        problem = why_not(url.scheme, url.raw_host or "", req.headers.keys())
        if problem is not None:
            raise StepUsageError(f"{req.method} {url.scheme}://{url.raw_host}: {problem}")
        self._req = req
        self._policy = policy
        self._netloc = (url.host_port_subcomponent or "").encode("ascii")
        self._read = b""
        self.step_id = default_id(req.method, self._netloc, url.raw_path)

    async def body_async(self) -> FetchRequest:
        """The request with its body read."""
        self._read = await _read(self._req)
        return self.body()

    def body(self) -> FetchRequest:
        """The same, once it has been read."""
        req = self._req
        return FetchRequest(
            url=str(req.url),
            method=req.method,
            headers=wire_headers(_raw(req), self._netloc),
            body=self._read or None,
            policy=self._policy,
            rich=True,
        )


async def _exchange(step: Any, asked: _Outgoing) -> FetchResponse:
    """Also in ``asyncio.run`` of a ``def`` function, whose steps do not wait but unwind."""
    if isinstance(step, Step):
        return await step.exchange(asked)
    await asked.body_async()
    return step.exchange(asked)


def _raw(req: aiohttp.ClientRequest) -> Iterable[tuple[bytes, bytes]]:
    headers = [(name.encode(), value.encode()) for name, value in req.headers.items()]
    if (
        req.method in req.POST_METHODS
        and "Content-Type" not in req.headers
        and "Content-Type" not in req.skip_auto_headers
    ):
        headers.append((b"Content-Type", b"application/octet-stream"))  # as aiohttp does when it sends
    return headers


async def _read(req: aiohttp.ClientRequest) -> bytes:
    """The body as it is sent. One that can be read only once is replaced: a redirect may send it again."""
    payload = req.body
    if not payload:
        return b""
    body = await _written(payload, None)
    if not isinstance(payload, BytesPayload):
        await req.update_body(BytesIOPayload(io.BytesIO(body), headers=payload.headers))
    return await _written(BytesIOPayload(io.BytesIO(body)), req.compress) if req.compress else body


async def _written(payload: Any, compress: Any) -> bytes:
    sink = _Sink()
    protocol = ResponseHandler(asyncio.get_running_loop())
    protocol.connection_made(sink)
    writer = StreamWriter(protocol, asyncio.get_running_loop())
    if compress:
        writer.enable_compression(compress)
    await payload.write(writer)
    await writer.write_eof()
    return bytes(sink.taken)


class _Sink(asyncio.Transport):
    """Where a body is written to that is read; and, with ``taken`` ignored, a request whose answer is known."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = bytearray()

    def write(self, data: Any) -> None:
        self.taken += data
        if len(self.taken) > MAX_BODY:
            raise StepUsageError(too_long(MAX_BODY))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def abort(self) -> None: ...


class _Nowhere(_Sink):
    def write(self, data: Any) -> None: ...


class _Recorded(ResponseHandler):
    """Reads the recorded response instead of a connection, all at once: the body is in memory already."""

    found: FetchResponse | None = None
    error: Exception | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.connection_made(_Nowhere())

    def set_response_params(self, **params: Any) -> None:
        """Called by the session before it sends."""
        untimed: dict[str, Any] = {**params, "timer": None, "read_timeout": None}
        super().set_response_params(**untimed)
        if self.found is None:
            return
        self.data_received(response_bytes(self.found))
        if not framed(self.found) and self._parser is not None:
            self._parser.feed_eof()

    async def read(self) -> Any:
        """Called by the response: its head and body, or the error."""
        if self.error is not None:
            raise self.error
        return await super().read()

    def pause_reading(self) -> None:
        """No flow control."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """The same."""


class _NoTask:
    """Stands in for the task that aiohttp's total time-out would cancel."""

    def cancel(self) -> None: ...

    def uncancel(self) -> float:
        return float("inf")


def _untimed(req: aiohttp.ClientRequest) -> None:
    """Take the request out of ``ClientTimeout.total``: that measures this process, and a replay would come out otherwise.

    aiohttp has no public way to it. In a version that keeps its timers elsewhere, ``total`` stays in force.
    """
    private: Any = req
    timer: Any = getattr(private, "_timer", None)
    if isinstance(getattr(timer, "_tasks", None), list):
        timer._tasks[:] = [_NoTask()]  # noqa: SLF001
        private._timer = TimerNoop()  # noqa: SLF001


def _phases(timeout: aiohttp.ClientTimeout) -> Mapping[str, float | None]:
    total = timeout.total or None
    connect = timeout.sock_connect or timeout.connect or total
    return {"connect": connect, "read": timeout.sock_read or total, "write": total}


def _make_plain(req: aiohttp.ClientRequest) -> None:
    url, headers = plain_request(req.method, str(req.url), req.headers.items())
    if url != str(req.url):
        raise StepUsageError(
            "a secret in a URL is filled in by the platform only: put it into a header, or make a step"
        )
    req.headers.clear()
    req.headers.extend(headers)


def _translated(req: aiohttp.ClientRequest, error: FetchError) -> Exception:
    """aiohttp's class for it. None of those after which a session sends a request again by itself."""
    text = error.message
    match error.kind:
        case "dns":
            return aiohttp.ClientConnectorDNSError(req.connection_key, OSError(None, text))
        case "connect" | "guard":
            return aiohttp.ClientConnectorError(req.connection_key, OSError(None, text))
        case "tls":
            return aiohttp.ClientConnectorSSLError(req.connection_key, OSError(None, text))
        case "timeout" if not error.sent:
            return aiohttp.ConnectionTimeoutError(text)
        case "timeout":
            return aiohttp.SocketTimeoutError(text)
        case "read" | "too_large":
            return aiohttp.ClientPayloadError(text)
        case "protocol":
            return aiohttp.ClientResponseError(req.request_info, (), status=400, message=text)
        case _:
            return aiohttp.ClientConnectionError(text)
