"""A request that is not durable: without headers for the platform, and with its references to secrets filled in."""

from __future__ import annotations

from collections.abc import Iterable

from stepwell.sdk.secrets import filled_in
from stepwell.transports._policy import steers
from stepwell.wire.fetch import FetchRequest

Pairs = list[tuple[str, str]]


def plain_request(method: str, url: str, headers: Iterable[tuple[str, str]]) -> tuple[str, Pairs]:
    """URL and headers to send. Raises ``ConfigError`` for a secret that is not there, or may not go to that host."""
    kept = [(name, value) for name, value in headers if not steers(name)]
    made = filled_in(FetchRequest(url=url, method=method, headers=tuple(kept)))
    return made.url, list(made.headers)
