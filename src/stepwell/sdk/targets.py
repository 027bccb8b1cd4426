"""Where requests go: what httpx2 makes of a URL, found once. Most requests of a client go to few URLs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

_SCHEMES = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True)
class Target:
    """A URL and its parts, as httpx2 has them. ``absolute``: a durable request can go there."""

    url: httpx2.URL
    text: str
    netloc: bytes
    path: str
    absolute: bool


def target(url: httpx2.URL) -> Target:
    """The parts of a URL, of httpx2 or its like."""
    absolute = url.scheme in _SCHEMES and bool(url.host)
    return Target(url, str(url), url.netloc, url.path, absolute)


@lru_cache(maxsize=1_024)
def parsed(text: str) -> Target:
    """The parts of a URL that is a text. Raises ``httpx2.InvalidURL``."""
    import httpx2

    return target(httpx2.URL(text))


@cache
def usual_headers() -> httpx2.Headers:
    """What a client of httpx2 sends by itself."""
    import httpx2

    with httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200)), trust_env=False) as client:
        return httpx2.Headers([(name, client.headers[name]) for name in ("Accept", "Accept-Encoding")])


@lru_cache(maxsize=1_024)
def usual_to(text: str) -> httpx2.Headers:
    """All headers of a request that has neither a body nor headers of its own: httpx2 would find them anew for each."""
    import httpx2

    return httpx2.Request("GET", parsed(text).url, headers=usual_headers()).headers
