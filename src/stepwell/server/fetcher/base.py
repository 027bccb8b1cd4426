"""The fetcher's seam: perform one attempt of one request. Everything about trying again is decided in core."""

from typing import Protocol

from stepwell.wire.fetch import FetchOutcome, FetchRequest


class Fetcher(Protocol):
    """Performs requests and reports what happened; never raises for anything that the network or the upstream does."""

    async def fetch(self, request: FetchRequest, attempt: int = 0) -> FetchOutcome:
        """One attempt, redirects included. Cancelling the task aborts the request."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
