"""What went wrong, in our kinds and words. Messages name the host, never a path, a query or a credential."""

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from stepwell.server.fetcher.base import NotStored
from stepwell.server.fetcher.body import TooLarge
from stepwell.server.fetcher.guard import GuardDenied
from stepwell.server.fetcher.timing import Timing
from stepwell.wire.fetch import FetchBroken, FetchRequest
from stepwell.wire.fetch_urls import place

_FINAL = frozenset({"guard", "too_large", "invalid", "redirect"})


def broken(request: FetchRequest, error: BaseException, timing: Timing) -> FetchBroken:
    """The outcome of an attempt that ended in ``error``."""
    kind, words = _explain(error, timing)
    return failure(request, kind, words, timing)


def failure(request: FetchRequest, kind: str, words: str, timing: Timing) -> FetchBroken:
    """An outcome of this kind; ``words`` go on from "GET https://host: "."""
    return FetchBroken(
        kind=kind,
        message=f"{request.method} {place(request.url)}: {words}.",
        sent=timing.sent,
        final=kind in _FINAL,
        elapsed_ms=timing.elapsed_ms,
        phases=timing.phases,
    )


def _explain(error: BaseException, timing: Timing) -> tuple[str, str]:
    for cause in _causes(error):
        if isinstance(cause, GuardDenied):
            return "guard", cause.message
        if isinstance(cause, TooLarge):
            becomes = "decodes to more" if cause.decoded else "is larger"
            return "too_large", f"the response's body {becomes} than the limit of {cause.limit} bytes"
        if isinstance(cause, NotStored):
            return "aborted", "the platform could not store the response's body"
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, aiohttp.ClientError):
            return "tls", f"the TLS handshake failed ({_tls(cause)})"
        if isinstance(cause, LineTooLong):
            return "protocol", "the head of the server's answer is larger than the platform takes"
        if isinstance(cause, socket.gaierror):
            return "dns", "the host's name could not be resolved"
    return _explain_plain(error, timing)


def _explain_plain(error: BaseException, timing: Timing) -> tuple[str, str]:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "timeout", "no connection came about in the time allowed"
    if isinstance(error, asyncio.TimeoutError) and timing.uploading:
        return "timeout", "the server took nothing of the request's body in the time allowed"
    if isinstance(error, asyncio.TimeoutError):
        return "timeout", "the server sent nothing in the time allowed"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return "connect", f"the proxy did not make the connection (it answered {error.status})"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "connect", f"the proxy could not be reached ({_errno(error)})"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns", "the host's name could not be resolved"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connect", f"no connection could be made ({_errno(error)})"
    if isinstance(error, (aiohttp.ClientResponseError, HttpProcessingError)):
        return "protocol", "the server's answer is not valid HTTP"
    if isinstance(error, (aiohttp.InvalidURL, ValueError, UnicodeError)):
        return "invalid", "the request can not be written as HTTP"
    return _explain_lost(error, timing)


def _explain_lost(error: BaseException, timing: Timing) -> tuple[str, str]:
    if isinstance(error, aiohttp.ClientPayloadError):
        return "read", "the connection ended in the middle of the response's body"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "read", "the server closed the connection without an answer"
    if isinstance(error, (aiohttp.ClientConnectionError, OSError)):
        if timing.uploading:
            return "write", "the connection broke while the request's body was being sent"
        return ("read" if timing.sent else "connect"), "the connection broke before there was an answer"
    if isinstance(error, RuntimeError):
        return "aborted", "the platform's connections are closed"
    return "protocol", f"it failed in an unexpected way ({type(error).__name__})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it wraps, and so on; a few levels are all there are."""
    found: BaseException | None = error
    for _ in range(6):
        if found is None:
            return
        yield found
        inner: object = getattr(found, "os_error", None) or getattr(found, "certificate_error", None)
        found = inner if isinstance(inner, BaseException) else found.__cause__


def _errno(error: aiohttp.ClientConnectorError) -> str:
    number = error.os_error.errno
    return os.strerror(number).lower() if number else type(error.os_error).__name__


def _tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    return (error.reason or "no details").lower().replace("_", " ")
