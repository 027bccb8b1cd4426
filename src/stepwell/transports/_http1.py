"""A recorded response as the bytes that came over the connection, for clients that bring a parser of their own.

Pure. The client's own parser, decoders and response classes then do what they do for a plain response.
"""

from __future__ import annotations

from http import HTTPStatus

from stepwell.sdk.fetching import default_id, raw_headers
from stepwell.wire.fetch import FetchRequest, FetchResponse


class Ready:
    """A request that is known whole and is about to become a step."""

    explicit = False

    def __init__(self, request: FetchRequest, netloc: str, path: str) -> None:
        self._request = request
        self.step_id = default_id(request.method, netloc.encode("ascii"), path)

    def body(self) -> FetchRequest:
        """The request."""
        return self._request

    async def body_async(self) -> FetchRequest:
        """The same."""
        return self._request


def response_bytes(found: FetchResponse) -> bytes:
    """Status line, headers as recorded, and the body in the framing that the headers name.

    A body whose headers name no framing ends where the bytes end (:func:`framed`).
    """
    version = b"1.0" if found.http_version == "1.0" else b"1.1"
    lines = [b"HTTP/%b %d %b" % (version, found.status, _reason(found))]
    lines += [b"%b: %b" % header for header in raw_headers(found.headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + _framed_body(found)


def framed(found: FetchResponse) -> bool:
    """Whether the headers say where the body ends."""
    return _is_chunked(found) or any(name.lower() == "content-length" for name, _ in found.headers)


def _framed_body(found: FetchResponse) -> bytes:
    if not _is_chunked(found):
        return found.body
    piece = b"%x\r\n%b\r\n" % (len(found.body), found.body) if found.body else b""
    return piece + b"0\r\n\r\n"


def _is_chunked(found: FetchResponse) -> bool:
    return any(name.lower() == "transfer-encoding" and "chunked" in value.lower() for name, value in found.headers)


def _reason(found: FetchResponse) -> bytes:
    if found.reason is not None:
        return found.reason.encode("latin-1", "replace")
    try:
        return HTTPStatus(found.status).phrase.encode("ascii")
    except ValueError:
        return b""
