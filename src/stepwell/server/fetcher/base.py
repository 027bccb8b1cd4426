"""The fetcher's seam: perform one attempt of one request. Everything about trying again is decided in core."""

from typing import Protocol

from stepwell.wire.fetch import FetchOutcome, FetchRequest


class NotStored(Exception):
    """The platform could not store a body while it arrived."""


class Sink(Protocol):
    """Where a large body is stored while it arrives. Both raise :class:`NotStored`. ``holds``: bytes of it in memory, at
    most."""

    holds: int

    async def write(self, data: bytes) -> None:
        """More of the body; waits while the store is slow."""
        ...

    async def end(self) -> int:
        """The body is whole: its size."""
        ...


class Fetcher(Protocol):
    """Performs requests and reports what happened; never raises for anything that the network or the upstream does."""

    async def fetch(self, request: FetchRequest, attempt: int = 0) -> FetchOutcome:
        """One attempt, redirects included. Cancelling the task aborts the request."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
