"""The fetcher on aiohttp: sends exactly what it is told, follows the hops that core decides, reports what happened."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import aiohttp
from aiohttp import ClientResponse, ClientTimeout
from aiohttp.http_exceptions import HttpProcessingError
from msgspec.structs import replace
from multidict import CIMultiDict
from yarl import URL

from stepwell.core.fetch_redirects import crosses, next_hop
from stepwell.server.connections import QuietConnector
from stepwell.server.fetcher.body import SLICE_BYTES, TooLarge, read_body, sliced
from stepwell.server.fetcher.budget import ARRIVING_BYTES, Budget
from stepwell.server.fetcher.cookies import cookies_of
from stepwell.server.fetcher.deadline import Deadline
from stepwell.server.fetcher.exchange import Message, exchange
from stepwell.server.fetcher.failures import broken, failure
from stepwell.server.fetcher.guard import Guard, GuardDenied
from stepwell.server.fetcher.networks import Networks, Route
from stepwell.server.fetcher.resolver import GuardedResolver, Lookup, system_lookup
from stepwell.server.fetcher.tee import Tee
from stepwell.server.fetcher.timing import Timing
from stepwell.server.fetcher.tls import usual_context
from stepwell.wire.constants import MAX_FETCH_BODY, MAX_TEXT_BODY, MAX_WAIT_MS, VERSION
from stepwell.wire.fetch import (
    FetchBroken,
    FetchOutcome,
    FetchPolicy,
    FetchRequest,
    FetchResponse,
    Header,
    Hop,
    Timeouts,
)
from stepwell.wire.hosts import literal

_USER_AGENT = f"Stepwell/{VERSION}"
_HOP_BODY_BYTES = 64 * 1024
"""A redirect's body up to this size is read, so that its connection can be used again."""
_HOP_BODY_S = 5.0


@dataclass(slots=True, frozen=True, kw_only=True)
class Limits:
    """Defaults of the platform, in seconds; ``connections`` is the size of the pool that all requests share.

    ``max_body``: bytes of a response's body, where the request says nothing else. ``arriving``: bytes that large bodies may
    take in memory while they arrive, all together.
    """

    connect: float = 10.0
    read: float = 7200.0
    write: float = 7200.0
    total: float = 7200.0
    dns: float = 10.0
    keep_alive: float = 30.0
    connections: int = 10_000
    max_body: int = MAX_FETCH_BODY
    arriving: int = ARRIVING_BYTES


@dataclass(slots=True)
class _Attempt:
    """What one attempt carries from hop to hop."""

    timing: Timing
    deadline: float
    tee: Tee | None = None
    history: tuple[Hop, ...] = ()


class AiohttpFetcher:
    """Performs attempts over one shared pool of keep-alive connections. Made anywhere, used on one event loop.

    ``guard`` judges each address that is connected; ``tls`` replaces the default verifying context; ``lookup`` the
    machine's resolver; ``networks`` holds the proxies and certificates of hosts.
    """

    def __init__(
        self,
        guard: Guard | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        lookup: Lookup = system_lookup,
        networks: Networks | None = None,
    ) -> None:
        self._guard = guard or Guard()
        self._limits = limits or Limits()
        self._budget = Budget(self._limits.arriving)
        self._tls = tls
        self._lookup = lookup
        self._networks = networks or Networks()
        self._open: QuietConnector | None = None
        self._resolver: GuardedResolver | None = None
        self._arriving: set[ClientResponse] = set()
        self._closed = False

    async def fetch(self, request: FetchRequest, attempt: int = 0) -> FetchOutcome:
        """One attempt, redirects included; ``policy.deadline_ms`` counts from now. Raises only when cancelled."""
        return await self.fetch_teed(request, attempt, None)

    async def fetch_teed(self, request: FetchRequest, attempt: int, tee: Tee | None) -> FetchOutcome:
        """As :meth:`fetch`, with the body going to ``tee`` while it arrives."""
        deadline = self._longest(request.policy)
        made = _Attempt(Timing(), deadline, tee, request.history)
        watch = Deadline(deadline)
        try:
            outcome = await self._hop(request, made)
            while isinstance(outcome, FetchRequest):
                outcome = await self._hop(outcome, made)
            return outcome
        except asyncio.CancelledError:
            if watch.close():
                return failure(request, "timeout", "it was not done when its time was up", made.timing)
            raise
        except Exception as error:  # noqa: BLE001 - whatever happens to a request is its outcome, or its run would hang
            return broken(request, error, made.timing)
        finally:
            watch.close()

    def _longest(self, policy: FetchPolicy) -> float:
        """Seconds for the whole attempt: never less than what one phase of it may take."""
        asked = policy.timeouts
        longest = min(max(self._limits.total, asked.read or 0.0, asked.write or 0.0), MAX_WAIT_MS / 1000)
        return longest if policy.deadline_ms is None else min(longest, policy.deadline_ms / 1000)

    async def close(self) -> None:
        """Close every connection; requests in flight end as broken."""
        self._closed = True
        connector, self._open = self._open, None
        for response in self._arriving:  # aiohttp forgets who reads on a connection that it closes itself
            response.content.set_exception(aiohttp.ClientPayloadError())
        if connector is not None:
            await connector.close()
        if self._resolver is not None:
            await self._resolver.close()

    async def _hop(self, request: FetchRequest, made: _Attempt) -> FetchOutcome | FetchRequest:
        """One request: the outcome, or the request that a redirect leads to."""
        route = self._networks.route(request.url)
        try:
            self._guard.check_url(request.url, proxied=route.proxy is not None)
        except GuardDenied as error:
            return broken(request, error, made.timing)
        response = await self._uploaded(request, route, made)
        self._arriving.add(response)
        try:
            return await self._received(request, response, made)
        except BaseException:
            response.close()
            raise
        finally:
            self._arriving.discard(response)

    async def _uploaded(self, request: FetchRequest, route: Route, made: _Attempt) -> ClientResponse:
        """The response's head; a large body goes out in slices, each with its time."""
        body = request.body
        if body is None or len(body) <= SLICE_BYTES:
            return await self._send(request, route, made, body)
        write = request.policy.timeouts.write or self._limits.write
        async with asyncio.timeout(None) as watch:
            return await self._send(request, route, made, sliced(body, made.timing, watch, write))

    async def _send(
        self, request: FetchRequest, route: Route, made: _Attempt, data: bytes | AsyncIterator[bytes] | None
    ) -> ClientResponse:
        message = Message(
            method=request.method,
            url=_target(request.url),
            headers=_headers(request, made.history),
            data=data,
            times=self._timeout(request.policy.timeouts, made.deadline, route.proxy is not None),
        )
        return await exchange(self._connector(), message, route, made.timing)

    def _timeout(self, asked: Timeouts, deadline: float, proxied: bool) -> ClientTimeout:
        """The times of a hop. One for each read that could not pass before the whole attempt's would only cost timers."""
        read = asked.read or self._limits.read
        limits = self._limits
        return _times(asked, limits.connect, limits.dns, read if read < deadline else None, proxied)

    async def _received(
        self, request: FetchRequest, response: ClientResponse, made: _Attempt
    ) -> FetchOutcome | FetchRequest:
        made.timing.answered()
        if response.status == 101:
            response.close()
            return failure(request, "invalid", "the server switched to a protocol that has no result", made.timing)
        head = _head(request, response, made)
        following = next_hop(request, head)
        if isinstance(following, FetchBroken):
            response.close()
            return replace(following, elapsed_ms=made.timing.elapsed_ms, phases=made.timing.phases)
        if following is None:
            body, stored = await read_body(response, self._cap(request), self._budget, made.tee, head)
            made.timing.received()
            timing = made.timing
            return replace(head, body=body, stored=stored, elapsed_ms=timing.elapsed_ms, phases=timing.phases)
        await self._drain(response)
        if crosses(request, following):
            return replace(head, onward=True, elapsed_ms=made.timing.elapsed_ms, phases=made.timing.phases)
        made.history += (Hop(head.status, head.url, head.headers),)
        return following

    async def _drain(self, response: ClientResponse) -> None:
        """Read a redirect's body; where to go is known, so one that does not come, or breaks off, holds nothing up."""
        try:
            async with asyncio.timeout(_HOP_BODY_S):
                await read_body(response, _HOP_BODY_BYTES, self._budget)
        except (TooLarge, TimeoutError, aiohttp.ClientError, HttpProcessingError):
            response.close()
        else:
            response.release()

    def _cap(self, request: FetchRequest) -> int:
        """A larger body could not become a record: the platform's limit or the request's own, or that of text."""
        limit = request.policy.max_body or self._limits.max_body
        return limit if request.rich else min(limit, MAX_TEXT_BODY)

    def _connector(self) -> QuietConnector:
        if self._open is None:
            if self._closed:
                raise RuntimeError("the fetcher is closed")
            self._open = self._connect()
        return self._open

    def _connect(self) -> QuietConnector:
        limits = self._limits
        self._resolver = resolver = GuardedResolver(self._guard, self._lookup, limits.dns)
        return QuietConnector(
            limit=limits.connections,
            limit_per_host=0,
            keepalive_timeout=limits.keep_alive,
            resolver=resolver,
            socket_factory=resolver.socket,
            ssl=self._tls or usual_context(),
        )


@lru_cache(maxsize=256)
def _times(asked: Timeouts, connect: float, dns: float, read: float | None, proxied: bool) -> ClientTimeout:
    connect, whole = asked.connect or connect, asked.pool
    if proxied:  # nothing else bounds its answer
        whole = (whole or 0.0) + dns
    if whole is not None:
        whole += connect
    return ClientTimeout(total=None, connect=whole, sock_connect=connect, sock_read=read)


@lru_cache(maxsize=1_024)
def _target(url: str) -> URL:
    """The URL with its bytes as they are; only a literal address is put into its one canonical form."""
    target = URL(url, encoded=True)
    address = literal(target.raw_host or "")
    return target if address is None or str(address) == target.raw_host else target.with_host(str(address))


def _headers(request: FetchRequest, history: Sequence[Hop]) -> CIMultiDict[str]:
    spelling: dict[str, str] = {}  # aiohttp takes a repeat in another case for a replacement: the first spelling stands
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in request.headers:
        headers.add(spelling.setdefault(name.lower(), name), _as_sent(value))
    if history and (cookies := cookies_of(history, request.url)) is not None:
        headers["Cookie"] = "; ".join([*headers.getall("Cookie", []), _as_sent(cookies)])
    if "user-agent" not in headers:
        headers["User-Agent"] = _USER_AGENT
    if request.body and len(request.body) > SLICE_BYTES and "content-length" not in headers:
        headers["Content-Length"] = str(len(request.body))
    return headers


def _as_sent(value: str) -> str:
    """The value's bytes, one character for each; what is no Latin-1 is UTF-8."""
    if value.isascii():
        return value
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode().decode("latin-1")
    return value


def _head(request: FetchRequest, response: ClientResponse, made: _Attempt) -> FetchResponse:
    headers: tuple[Header, ...] = tuple(
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
    )
    version = response.version
    return FetchResponse(
        status=response.status,
        url=request.url,
        headers=headers,
        history=made.history,
        http_version=f"{version.major}.{version.minor}" if version else "1.1",
        reason=_reason(response.status, response.reason),
    )


def _reason(status: int, words: str | None) -> str | None:
    """A status line's words, one character for each byte; None for the most usual ones."""
    if words is None or (status == 200 and words == "OK"):
        return None
    return words.encode("utf-8", "surrogateescape").decode("latin-1")
