"""The shapes of a durable HTTP request and of its recorded result (protocol section 4, contract: docs/durable-http.md)."""

from urllib.parse import urlsplit

import msgspec

RETRY_STATUSES: frozenset[int] = frozenset({408, 425, 429, 500, 502, 503, 504})

Header = tuple[str, str]


class Timeouts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Seconds for each phase of one attempt; None means the default of the platform."""

    connect: float | None = None
    read: float | None = None
    write: float | None = None
    pool: float | None = None


class FetchPolicy(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How a request is tried. ``attempts`` counts all tries (None: the function's); delays in milliseconds."""

    attempts: int | None = None
    retry_on: tuple[int, ...] | None = None
    min_delay_ms: int = 500
    max_delay_ms: int = 60_000
    deadline_ms: int | None = None
    timeouts: Timeouts = Timeouts()
    follow_redirects: bool = True
    idempotency_key: str | None = None
    """None: a generated key for non-idempotent methods; "" : no key; else the user's own."""
    idempotency_header: str = "Idempotency-Key"
    at_most_once: bool = False
    poll: bool = False
    """Follow a 202 to the end of the job that it began."""
    callback: bool = False
    """The result is a request that the upstream makes to a URL which it is given."""
    max_body: int | None = None
    """Bytes of the response's body; None: what the platform is set to."""


class Hop(msgspec.Struct, frozen=True):
    """One redirect that was followed: the answer that said where to go."""

    status: int
    url: str
    headers: tuple[Header, ...] = ()


class FetchRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One durable request. ``headers`` are ordered and may repeat. ``rich``: our own SDK asked, exact bytes go back.

    ``history``: the redirects that led here in earlier attempts. ``stay``: a redirect to another host ends the attempt.
    ``single``: each one that is to be followed does.
    """

    url: str
    method: str = "GET"
    headers: tuple[Header, ...] = ()
    body: bytes | None = None
    policy: FetchPolicy = FetchPolicy()
    rich: bool = False
    history: tuple[Hop, ...] = ()
    stay: bool = False
    ai: bool = False
    """Its result is the JSON of a model's provider (protocol 4.6), not the response."""
    single: bool = False

    def __repr__(self) -> str:
        """Nothing that may be a credential: this ends up in logs and tracebacks."""
        parts = urlsplit(self.url)
        return f"FetchRequest({self.method} {parts.scheme}://{parts.netloc.rpartition('@')[2]})"


class Phases(msgspec.Struct, frozen=True, omit_defaults=True):
    """Milliseconds that an attempt spent in each phase; None where it was not measured or did not happen.

    ``connect`` is TCP alone; through a proxy, all that it takes to have a line to the host.
    """

    dns: float | None = None
    connect: float | None = None
    tls: float | None = None
    first_byte: float | None = None
    transfer: float | None = None


def added(one: Phases, two: Phases) -> Phases:
    """What both took together."""
    pairs = ((getattr(one, name), getattr(two, name)) for name in Phases.__struct_fields__)
    return Phases(*(first if second is None else (first or 0.0) + second for first, second in pairs))


class FetchResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What the upstream answered: exact header order, bytes as received (still encoded), final ``url``.

    ``onward``: no result, but a redirect that is to be followed in an attempt of its own.
    """

    status: int
    url: str
    headers: tuple[Header, ...] = ()
    body: bytes = b""
    stored: int | None = None
    """Bytes of a body that has been stored as it arrived; ``body`` is empty then."""
    history: tuple[Hop, ...] = ()
    http_version: str = "1.1"
    elapsed_ms: float = 0.0
    phases: Phases = Phases()
    onward: bool = False
    reason: str | None = None
    """The words of the status line, where they are not ``200 OK``; None: those that are usual for the status."""


class FetchBroken(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that got no response. ``kind``: dns, connect, tls, write, read, timeout, protocol, too_large, guard,
    redirect, invalid, aborted, unknown. ``sent``: a byte of the request may have left. ``final``: trying again is no use."""

    kind: str
    message: str
    sent: bool = False
    final: bool = False
    elapsed_ms: float = 0.0
    phases: Phases = Phases()


FetchOutcome = FetchResponse | FetchBroken
