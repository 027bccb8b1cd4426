"""Where an attempt's time goes, and how far its request has come; the connector tells of its part."""

from time import perf_counter

from aiohttp.tracing import Trace

from stepwell.server.fetcher.tls import HANDSHAKE
from stepwell.wire.fetch import Phases


class Timing:
    """One attempt; its phases add up over redirect hops. ``sent``: a byte of a request may have left.

    ``heard``: the response's headers are here. ``uploading``: the body is on its way and has not been handed over
    whole.
    """

    __slots__ = (
        "_begun",
        "_connect",
        "_connect_from",
        "_dns",
        "_dns_from",
        "_first_byte",
        "_sent_at",
        "_tls",
        "_tls_from",
        "_transfer",
        "heard",
        "reused",
        "sent",
        "uploading",
    )

    def __init__(self) -> None:
        self._begun = perf_counter()
        self._dns: float | None = None
        self._connect: float | None = None
        self._tls: float | None = None
        self._tls_from: float | None = None
        self._first_byte: float | None = None
        self._transfer: float | None = None
        self._dns_from = self._connect_from = self._sent_at = 0.0
        self.sent = self.heard = self.uploading = self.reused = False

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the attempt began."""
        return (perf_counter() - self._begun) * 1000

    @property
    def phases(self) -> Phases:
        """What was measured so far. The connect phase is without the name's look-up, and without TLS."""
        connect, tls = self._connect, self._tls
        if self._tls_from is not None:  # the handshake has not ended well
            connect = (connect or 0.0) + (self._tls_from - self._connect_from) * 1000
            tls = _add(tls, self._tls_from)
        if connect is not None:
            connect = max(0.0, connect - (self._dns or 0.0))
        return Phases(dns=self._dns, connect=connect, tls=tls, first_byte=self._first_byte, transfer=self._transfer)

    def dns_started(self) -> None:
        """A name is being looked up."""
        self._dns_from = perf_counter()

    def dns_ended(self) -> None:
        """The name's addresses are known."""
        self._dns = _add(self._dns, self._dns_from)

    def connect_started(self) -> None:
        """No pooled connection was free."""
        self._connect_from = perf_counter()
        self._tls_from = None

    def handshake_started(self) -> None:
        """The connection stands, and TLS begins on it."""
        self._tls_from = perf_counter()

    def connect_ended(self) -> None:
        """A new connection can be used."""
        now = perf_counter()
        begun, self._tls_from = self._tls_from or now, None
        self._connect = (self._connect or 0.0) + (begun - self._connect_from) * 1000
        if begun < now:
            self._tls = (self._tls or 0.0) + (now - begun) * 1000

    def sending(self) -> None:
        """The request's first byte is about to leave."""
        self._sent_at = perf_counter()
        self.sent, self.heard = True, False

    def answered(self) -> None:
        """The response's headers are here."""
        self._first_byte = _add(self._first_byte, self._sent_at)
        self.heard, self.uploading = True, False
        self._sent_at = perf_counter()

    def received(self) -> None:
        """The response's body is here."""
        self._transfer = _add(self._transfer, self._sent_at)


def _add(so_far: float | None, since: float) -> float:
    return (so_far or 0.0) + (perf_counter() - since) * 1000


def traces(timing: Timing) -> list[Trace]:
    """What a connector tells this attempt by."""
    return [_Told(timing)]


class _Told(Trace):
    """Tells one attempt what becomes of its connection, without the objects that aiohttp makes for whoever listens."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing

    async def send_dns_resolvehost_start(self, host: str) -> None:
        self._timing.dns_started()

    async def send_dns_resolvehost_end(self, host: str) -> None:
        self._timing.dns_ended()

    async def send_connection_create_start(self) -> None:
        self._timing.connect_started()
        HANDSHAKE.set(self._timing.handshake_started)

    async def send_connection_create_end(self) -> None:
        self._timing.connect_ended()

    async def send_connection_reuseconn(self) -> None:
        self._timing.reused = True

    async def send_connection_queued_start(self) -> None:
        """Waiting for one of the pool is no phase of its own."""

    async def send_connection_queued_end(self) -> None:
        """See above."""

    async def send_dns_cache_hit(self, host: str) -> None:
        """The look-up ends at once."""

    async def send_dns_cache_miss(self, host: str) -> None:
        """A look-up follows."""
