"""Durable requests for code that uses urllib3: ``http = DurablePoolManager()`` instead of ``urllib3.PoolManager()``."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Mapping
from datetime import timedelta
from socket import gaierror
from typing import Any

import urllib3
from urllib3 import HTTPHeaderDict, exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import BaseHTTPResponse, HTTPResponse
from urllib3.util.request import body_to_chunks
from urllib3.util.retry import Retry as Urllib3Retry
from urllib3.util.url import parse_url
from urllib3.util.util import to_str

from stepwell.errors import FetchError, StepUsageError
from stepwell.sdk.fetching import Retry, wire_headers
from stepwell.transports._codec import read
from stepwell.transports._http1 import Ready, response_bytes
from stepwell.transports._plain import plain_request
from stepwell.transports._policy import PLAIN, Plain, base_policy, why_not, with_timeouts
from stepwell.transports._scope import sync_step
from stepwell.wire.fetch import FetchPolicy, FetchRequest, FetchResponse

__all__ = ["NO_RETRIES", "DurablePoolManager"]

NO_RETRIES = Urllib3Retry(total=None, connect=0, read=0, other=0, status=0, redirect=3)
"""The default in runs: urllib3 follows redirects as it always does, and retries nothing; the platform does that."""


class DurablePoolManager(urllib3.PoolManager):
    """A ``urllib3.PoolManager`` whose requests are durable steps in ``def`` functions, and plain ones outside of runs.

    Args:
        fallback: the ``PoolManager`` that sends the requests made outside of a run and inside of ``step.run``. Default: a
            plain one with the same options; None makes those requests an error (``StepUsageError``).
        retry: a :class:`stepwell.Retry`, or the number of attempts; default: the function's, and the usual delays.
        deadline: over all attempts of a request: seconds, a ``timedelta`` or a text such as ``"5m"``; default: none.
        at_most_once: never send a request a second time once a byte of it may have left.
        options: those of ``urllib3.PoolManager``. In runs ``retries`` is :data:`NO_RETRIES` unless it is given.

    ``urlopen`` and ``request`` return real ``urllib3.HTTPResponse`` objects. Time-outs are urllib3's own, for each attempt;
    each redirect is a request of its own. TLS settings and proxies of durable requests are those of the platform. A
    request without a response raises urllib3's exceptions, with the ``FetchError`` as their ``__cause__``.
    """

    def __init__(
        self,
        fallback: urllib3.PoolManager | Plain | None = PLAIN,
        *,
        retry: Retry | int | None = None,
        deadline: float | timedelta | str | None = None,
        at_most_once: bool = False,
        **options: Any,
    ) -> None:
        own: dict[str, Any] = {"retries": NO_RETRIES, **options}
        super().__init__(**own)
        policy = base_policy(retry, deadline, at_most_once)
        self.pool_classes_by_scheme = {
            "http": self._pool_class(_DurableHTTP, policy),
            "https": self._pool_class(_DurableHTTPS, policy),
        }
        self._plain_allowed = fallback is not None
        self._plain = None if isinstance(fallback, Plain) else fallback
        self._plain_options = options
        self._lock = threading.Lock()

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> BaseHTTPResponse:
        """As ``PoolManager.urlopen``: in a run a durable step, else a plain request."""
        if self.in_run():
            return super().urlopen(method, url, redirect, **kw)
        url, pairs = plain_request(method, url, _items(self.headers if kw.get("headers") is None else kw["headers"]))
        kw["headers"] = HTTPHeaderDict(pairs)
        return self._fallback().urlopen(method, url, redirect=redirect, **kw)

    def in_run(self) -> bool:
        """Whether a request that is made now is a step. Raises ``StepUsageError`` where it can be neither step nor plain."""
        return sync_step(plain_allowed=self._plain_allowed) is not None

    def plain_pool(self, host: str, port: int | None, scheme: str) -> HTTPConnectionPool:
        """The pool of the fallback that has the connections to a host."""
        return self._fallback().connection_from_host(host, port, scheme)

    def clear(self) -> None:
        """Close the connections of the fallback that was made."""
        super().clear()
        if self._plain is not None:
            self._plain.clear()

    def _pool_class(self, connection: type[HTTPConnection], policy: FetchPolicy) -> type[HTTPConnectionPool]:
        base = _SecurePool if issubclass(connection, HTTPSConnection) else _Pool
        own = type(connection.__name__, (connection,), {"policy": policy})
        made: Any = type(f"Durable{base.__name__}", (base,), {"ConnectionCls": own, "manager": self})
        return made

    def _fallback(self) -> urllib3.PoolManager:
        with self._lock:
            if self._plain is None:
                self._plain = urllib3.PoolManager(**self._plain_options)
            return self._plain


def cause_of(error: BaseException) -> BaseException | None:
    """The ``FetchError`` that an exception of urllib3 or requests was made of, else what caused it."""
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None or isinstance(seen, FetchError):
            break
        seen = seen.__cause__ or getattr(seen, "reason", None) or seen.__context__
    return seen if isinstance(seen, FetchError) else error.__cause__


class _Pool(HTTPConnectionPool):
    """A pool of connections that are none: taken from the manager it may be kept, and used in runs and outside of them."""

    manager: DurablePoolManager

    def urlopen(self, method: str, url: str, body: Any = None, headers: Any = None, *rest: Any, **kw: Any) -> Any:
        """As ``HTTPConnectionPool.urlopen``: in a run a durable step, else a plain request."""
        path = url if url.startswith("/") else parse_url(url).request_uri
        if self.manager.in_run():
            try:
                return super().urlopen(method, path, body, headers, *rest, **kw)
            except exceptions.HTTPError as error:
                raise error from cause_of(error)
        place = f"{self.scheme}://{_netloc(self)}"
        whole, pairs = plain_request(method, place + path, _items(self.headers if headers is None else headers))
        plain = self.manager.plain_pool(self.host, self.port, str(self.scheme))
        return plain.urlopen(method, whole.removeprefix(place), body, HTTPHeaderDict(pairs), *rest, **kw)

    def _put_conn(self, conn: Any) -> None:
        """Without the warning of a full pool: no connection is lost."""
        if self.pool is None or not self.pool.full():
            super()._put_conn(conn)


class _SecurePool(_Pool, HTTPSConnectionPool):
    """For https."""


class _Socket:
    """What http.client and urllib3 ask of a socket: here it leads to the record."""

    def __init__(self) -> None:
        self.received = b""

    def makefile(self, *_args: Any, **_kw: Any) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self.received))  # pyright: ignore[reportArgumentType]

    def settimeout(self, _timeout: float | None) -> None: ...

    def close(self) -> None: ...


class _Durable(HTTPConnection):
    """Takes a request as urllib3 writes it and lets urllib3 read the recorded response; there is no connection."""

    policy: FetchPolicy
    scheme = "http"

    def connect(self) -> None:
        self.sock: Any = _Socket()
        self.is_verified = True  # of the platform's connections, which it verifies by its own settings

    def send(self, data: Any) -> None:
        self._written.append(data)

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        self.connect()
        self._written: list[bytes] = []
        self._phases = {"connect": _seconds(self.timeout)}
        chunks = body_to_chunks(body, method=method, blocksize=self.blocksize).chunks
        self._body = read(_octets(chunks))
        options["chunked"] = False
        super().request(method, url, headers=headers, **options)
        self._target = (method, url)

    def getresponse(self) -> HTTPResponse:
        found = self._exchange()
        self.sock.received = response_bytes(found)
        made = super().getresponse()
        made.stepwell_elapsed_ms = found.elapsed_ms  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        self.sock = None
        return made

    def _exchange(self) -> FetchResponse:
        step = sync_step(plain_allowed=False)
        assert step is not None
        try:
            return step.exchange(self._ready())
        except FetchError as error:
            raise _translated(self, error) from error

    def _ready(self) -> Ready:
        method, target = self._target
        headers = list(_headers(self._written[0]))
        netloc = _netloc(self)
        url = f"{self.scheme}://{netloc}{target}"
        problem = why_not(self.scheme, self.host, [name.decode("latin-1") for name, _ in headers])
        if problem is not None:
            raise StepUsageError(f"{method} {self.scheme}://{netloc}: {problem}")
        request = FetchRequest(
            url=url,
            method=method,
            headers=wire_headers(headers, netloc.encode("ascii")),
            body=self._body or None,
            policy=with_timeouts(self.policy, {**self._phases, "read": _seconds(self.timeout)}),
            rich=True,
        )
        return Ready(request, netloc, target.partition("?")[0])


class _DurableHTTP(_Durable):
    """For http."""


class _DurableHTTPS(_Durable, HTTPSConnection):
    """For https."""

    scheme = "https"


def _netloc(of: Any) -> str:
    """Host and port of a connection or a pool, as a URL has them."""
    host = f"[{of.host}]" if ":" in of.host else of.host
    usual = {"http": 80, "https": 443}[of.scheme]
    return host if of.port in (None, usual) else f"{host}:{of.port}"


def _items(headers: Mapping[Any, Any]) -> Iterable[tuple[str, str]]:
    return [(to_str(name), to_str(value)) for name, value in headers.items()]


def _seconds(timeout: Any) -> float | None:
    return float(timeout) if isinstance(timeout, (int, float)) else None


def _octets(chunks: Iterable[Any] | None) -> Iterable[bytes]:
    for chunk in chunks or ():
        yield chunk.encode() if isinstance(chunk, str) else bytes(chunk)


def _headers(head: bytes) -> Iterable[tuple[bytes, bytes]]:
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b": ")
        if colon:
            yield name, value


def _translated(connection: HTTPConnection, error: FetchError) -> Exception:
    """What urllib3 itself meets at such a failure; its pool makes ``MaxRetryError`` and its like of it."""
    text = error.message
    match error.kind:
        case "dns":
            return exceptions.NameResolutionError(connection.host, connection, gaierror(text))
        case "connect" | "guard":
            return exceptions.NewConnectionError(connection, text)
        case "tls":
            return exceptions.SSLError(text)
        case "timeout" if not error.sent:
            return exceptions.ConnectTimeoutError(connection, text)
        case "timeout":
            return TimeoutError(text)
        case _:
            return exceptions.ProtocolError(text)
