"""A client's request to the wire, its body read whole. Pure but for the reading of the body that it is handed."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import Any, Protocol, cast

from stepwell.errors import StepUsageError
from stepwell.sdk.fetching import default_id, wire_headers
from stepwell.sdk.upload import too_long
from stepwell.transports._policy import MAX_BODY, why_not, with_timeouts
from stepwell.wire.fetch import FetchPolicy, FetchRequest


class Url(Protocol):
    """What httpx and httpx2 call a ``URL``."""

    @property
    def scheme(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def netloc(self) -> bytes: ...
    @property
    def path(self) -> str: ...


class Headers(Protocol):
    """What they call ``Headers``."""

    @property
    def raw(self) -> list[tuple[bytes, bytes]]: ...
    def __delitem__(self, key: str) -> None: ...
    def keys(self) -> Iterable[str]: ...


class Request(Protocol):
    """What they call a ``Request``."""

    @property
    def method(self) -> str: ...
    @property
    def url(self) -> Url: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def extensions(self) -> Any: ...
    @property
    def stream(self) -> Any: ...


class Outgoing:
    """A request that is about to become a step. Raises ``StepUsageError`` when it can not be durable."""

    explicit = False

    def __init__(self, request: Request, policy: FetchPolicy) -> None:
        url = request.url
        problem = why_not(url.scheme, url.host, request.headers.keys())
        if problem is not None:
            raise StepUsageError(f"{request.method} {url.scheme}://{url.host}: {problem}")
        self._request = request
        self._policy = with_timeouts(policy, request.extensions.get("timeout"))
        self._read: bytes | None = None
        self.step_id = default_id(request.method, url.netloc, url.path)

    def body(self) -> FetchRequest:
        """The request with its body read."""
        return self._wire(read(self._request.stream) if self._read is None else self._read)

    async def body_async(self) -> FetchRequest:
        """The same, for async streams."""
        self._read = await read_async(self._request.stream)
        return self._wire(self._read)

    def _wire(self, body: bytes) -> FetchRequest:
        request = self._request
        return FetchRequest(
            url=str(request.url),
            method=request.method,
            headers=wire_headers(request.headers.raw, request.url.netloc),
            body=body or None,
            policy=self._policy,
            rich=True,
        )


def read(stream: object, limit: int = MAX_BODY) -> bytes:
    """All of a sync stream. Raises ``StepUsageError`` for one that does not end within ``limit`` bytes."""
    body = bytearray()
    for part in cast("Iterable[bytes]", stream):
        _add(body, part, limit)
    return bytes(body)


async def read_async(stream: object, limit: int = MAX_BODY) -> bytes:
    """All of an async stream; the same."""
    body = bytearray()
    async for part in cast("AsyncIterable[bytes]", stream):
        _add(body, part, limit)
    return bytes(body)


def _add(body: bytearray, part: bytes, limit: int) -> None:
    body += part
    if len(body) > limit:
        raise StepUsageError(too_long(limit))
