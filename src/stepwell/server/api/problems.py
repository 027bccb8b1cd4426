"""Errors and answers as the API writes them (protocol section 0), on hot paths and on the others."""

from datetime import UTC, datetime

import msgspec
from starlette.responses import Response

JSON = "application/json"


class Problem(Exception):
    """The request can not be answered. ``status`` is the HTTP status; the message one sentence for the caller."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers or {}

    def body(self) -> bytes:
        """The REST error body (protocol section 0)."""
        shape: dict[str, object] = {"error": self.message, "status": self.status, "data": None}
        if self.code:
            shape["code"] = self.code
        return msgspec.json.encode(shape)

    def response(self) -> Response:
        """The whole response."""
        return Response(self.body(), self.status, self.headers, JSON)


def unavailable(error: Exception) -> Problem:
    """The store can not work now: the caller may come again in a second."""
    return Problem(503, str(error) or "The store is not available.", code="store", headers={"Retry-After": "1"})


def bare(payload: object, status: int = 200) -> Response:
    """A v0 answer: the payload alone."""
    return Response(msgspec.json.encode(payload), status, media_type=JSON)


def wrapped(payload: object, status: int = 200, **metadata: object) -> Response:
    """A v1 answer: the payload under ``data``, and when it was read."""
    shape = {"data": payload, "metadata": {"fetched_at": datetime.now(UTC), **metadata}}
    return Response(msgspec.json.encode(shape), status, media_type=JSON)
