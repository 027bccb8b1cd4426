"""``GET /v1/bodies/{ref}``: large fetched bodies, ranged, streamed, for who holds the signing key."""

import re
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from stepwell.server.api.auth import require_bearer
from stepwell.server.api.facade import EngineFacade
from stepwell.server.api.problems import Problem
from stepwell.server.settings import Settings

CHUNK = 1 << 20
_MAX_RANGE = 8 * CHUNK
"""A longer range is answered with its beginning: who asks looks at Content-Range (RFC 9110, 15.3.7)."""
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")
_HEADERS = {
    "Accept-Ranges": "bytes",
    "X-Content-Type-Options": "nosniff",
    "Content-Disposition": "attachment",
    "Cache-Control": "private, no-store",
}
_OCTETS = "application/octet-stream"


class Bodies:
    """Serves bodies in pieces of 1 MiB, so that none is in memory whole."""

    def __init__(self, engine: EngineFacade, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    async def get(self, request: Request) -> Response:
        """A body, or the one range of it that is asked for (RFC 9110, section 14)."""
        require_bearer(self._settings, request.scope)
        ref = str(request.path_params["ref"])
        wanted = _range(request.headers.get("range"))
        start, end = wanted or (0, None)
        first = await self._piece(ref, start, end)
        if first is None:
            raise Problem(404, f"There is no body {ref[:80]!r}.", code="body_unknown")
        if wanted and not first:
            raise Problem(416, "The range lies behind the end of the body.")
        if wanted is None:
            return StreamingResponse(self._stream(ref, 0, None, first), 200, _HEADERS, _OCTETS)
        return await self._partial(ref, start, end, first)

    async def _partial(self, ref: str, start: int, end: int | None, first: bytes) -> Response:
        end = start + _MAX_RANGE if end is None else min(end, start + _MAX_RANGE)
        if end - start > CHUNK:
            first = b"".join([piece async for piece in self._stream(ref, start, end, first)])
        headers = {**_HEADERS, "Content-Range": f"bytes {start}-{start + len(first) - 1}/*"}
        return Response(first, 206, headers, _OCTETS)

    async def _stream(self, ref: str, start: int, end: int | None, first: bytes) -> AsyncIterator[bytes]:
        piece: bytes | None = first
        while piece:
            yield piece
            start += len(piece)
            piece = await self._piece(ref, start, end)

    async def _piece(self, ref: str, start: int, end: int | None) -> bytes | None:
        stop = start + CHUNK if end is None else min(end, start + CHUNK)
        return b"" if stop <= start else await self._engine.body(ref, start, stop)


def _range(text: str | None) -> tuple[int, int | None] | None:
    """``(start, end)`` of a single range, the end exclusive; None for none, and for forms that may be ignored."""
    found = _RANGE.fullmatch(text.strip()) if text else None
    if found is None:
        return None
    start, last = int(found[1]), found[2]
    if last and int(last) < start:
        return None
    return start, int(last) + 1 if last else None
