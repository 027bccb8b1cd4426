"""What the upstream saw: requests in flight, in all, by path, and the idempotency keys that came with them."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

UNCOUNTED = frozenset({"/stats", "/reset", "/health"})


@dataclass
class Stats:
    """Counters since the start, or since the last ``reset``."""

    in_flight: int = 0
    max_in_flight: int = 0
    total: int = 0
    paths: Counter[str] = field(default_factory=Counter[str])
    keys: Counter[str] = field(default_factory=Counter[str])

    @contextmanager
    def request(self, path: str, key: str | None) -> Iterator[None]:
        """Count one request for as long as it is in flight."""
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.total += 1
        self.paths[path] += 1
        if key:
            self.keys[key] += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def reset(self) -> None:
        """Forget everything but what is in flight now."""
        self.max_in_flight, self.total = self.in_flight, 0
        self.paths.clear()
        self.keys.clear()

    def report(self) -> dict[str, object]:
        """The counters as JSON."""
        return {
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "total": self.total,
            "paths": dict(self.paths),
            "idempotency_keys": dict(self.keys),
        }


STATS = web.AppKey("stats", Stats)


@web.middleware
async def count(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Count every request but those about the counters themselves."""
    if request.path in UNCOUNTED:
        return await handler(request)
    with request.app[STATS].request(request.path, request.headers.get("Idempotency-Key")):
        return await handler(request)
