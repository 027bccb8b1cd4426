"""A durable request on the user's side: httpx's arguments to the wire, the recorded result to an ``httpx2.Response``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, cast

from msgspec.structs import replace

from stepwell.errors import FetchError
from stepwell.sdk.auth import authorised
from stepwell.sdk.memos import split
from stepwell.sdk.targets import Target, parsed, target, usual_headers, usual_to
from stepwell.sdk.timeouts import of_request, timeouts
from stepwell.sdk.upload import bound
from stepwell.wire.durations import to_ms
from stepwell.wire.errors import parse_error
from stepwell.wire.fetch import FetchPolicy, FetchRequest, FetchResponse, Header, Timeouts
from stepwell.wire.fetch_headers import find
from stepwell.wire.fetch_urls import becomes_get, clean_url
from stepwell.wire.gateway import render_gateway
from stepwell.wire.memos import BadMemo, parse_memo
from stepwell.wire.sizes import parse_size

if TYPE_CHECKING:
    import httpx2

UrlOrRequest = Any
"""A ``str``, an ``httpx2.URL`` or ``httpx.URL``, or a ready ``Request`` of either."""
_OURS = frozenset({b"host", b"content-length", b"transfer-encoding"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often and when a request is tried again.

    Args:
        attempts: all tries together; default: the function's.
        on: the statuses that are retried; default: 408, 425, 429, 500, 502, 503, 504.
        min_delay: of the exponential backoff: seconds, a ``timedelta`` or a text such as ``"500ms"``.
        max_delay: the same.
    """

    attempts: int | None = None
    on: Iterable[int] | None = None
    min_delay: float | timedelta | str = 0.5
    max_delay: float | timedelta | str = 60


class FetchOptions(TypedDict, total=False):
    """The keywords of ``fetch``: httpx's, and ours."""

    method: str
    params: Any
    headers: Any
    json: Any
    data: Any
    content: Any
    files: Any
    cookies: Any
    auth: Any
    timeout: Any
    follow_redirects: bool
    id: str
    retry: Retry | int
    idempotency_key: str | None
    idempotency_header: str
    at_most_once: bool
    poll: bool
    callback: bool
    max_body: int | str | None
    stream: bool
    deadline: float | timedelta | str | None


class Sendable(Protocol):
    """A request that can become a step: its id, whether the user chose that, and the request with its body read."""

    @property
    def step_id(self) -> str: ...  # noqa: D102
    @property
    def explicit(self) -> bool: ...  # noqa: D102
    def body(self) -> FetchRequest: ...  # noqa: D102
    async def body_async(self) -> FetchRequest: ...  # noqa: D102


@dataclass(slots=True)
class Asked:
    """A request that is about to become a step."""

    request: httpx2.Request
    target: Target
    policy: FetchPolicy
    step_id: str
    explicit: bool
    stream: bool = False

    def body(self) -> FetchRequest:
        """The request with its body read."""
        if not hasattr(self.request, "_content") and not hasattr(getattr(self.request, "stream", ()), "__iter__"):
            raise TypeError("the request's body is an async stream: a sync function needs a plain one")
        bound(self.request)
        return self._wire(self.request.read())

    async def body_async(self) -> FetchRequest:
        """The same, for bodies that may be async streams."""
        import httpx2

        if (content := getattr(self.request, "_content", None)) is not None:
            return self._wire(content)
        stream = self.request.stream if hasattr(self.request, "stream") else None
        sync = stream is None or isinstance(stream, httpx2.SyncByteStream) or not hasattr(stream, "__aiter__")
        bound(self.request)
        return self._wire(self.request.read() if sync else await self.request.aread())

    def _wire(self, body: bytes) -> FetchRequest:
        request = self.request
        return FetchRequest(
            url=self.target.text,
            method=request.method,
            headers=wire_headers(request.headers.raw, self.target.netloc),
            body=body or None,
            policy=self.policy,
            rich=True,
        )


def prepare(url: UrlOrRequest, options: FetchOptions | Mapping[str, Any]) -> Asked:
    """The request and policy that the arguments describe. Raises ``TypeError`` and ``ValueError`` for bad ones."""
    given: dict[str, Any] = dict(options)
    unknown = given.keys() - FetchOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"fetch() has no argument {', '.join(sorted(map(repr, unknown)))}")
    ready = is_ready(url, given)
    request = _request(url, given, ready)
    asked = given.get("params") is None and given.get("auth") is None and not ready
    where = parsed(_text(url)) if asked else target(request.url)
    if not where.absolute:
        raise ValueError(f"{where.text!r} is no absolute http or https URL: a durable request needs one")
    policy = make_policy(given)
    if "timeout" not in given and ready and (phases := of_request(url)) is not None:
        policy = replace(policy, timeouts=phases)
    explicit = given.get("id")
    step_id = explicit or default_id(request.method, where.netloc, where.path)
    return Asked(request, where, policy, step_id, explicit is not None, given.get("stream", False))


def default_id(method: str, netloc: bytes, path: str) -> str:
    """The step id of a request without one: method, host and path; no query, which may hold secrets."""
    return f"{method} {netloc.decode('ascii')}{path}"


def wire_headers(raw: Iterable[tuple[bytes, bytes]], netloc: bytes) -> tuple[Header, ...]:
    """A client's headers, in order, without the framing and the ``Host`` that the platform writes itself."""
    kept: list[Header] = []
    for name, value in raw:
        if name.lower() not in _OURS or (name.lower() == b"host" and value != netloc):
            kept.append((name.decode("latin-1"), value.decode("latin-1")))
    return tuple(kept)


def render(request: FetchRequest) -> bytes:
    """The options of the op."""
    return render_gateway(request)


def read_memo(memo: bytes) -> tuple[FetchResponse, str | None]:
    """The recorded response, and the reference of a body that is kept elsewhere. Raises ``FetchError``."""
    try:
        return parse_memo(memo)
    except BadMemo as problem:
        _, error = split(memo)
        if error is None:
            raise FetchError(str(problem), "invalid") from None
    info = parse_error(error)
    raise FetchError(info.message, info.kind or "unknown", info.attempts or 1, sent=info.sent is not False)


def response(found: FetchResponse, asked: Asked) -> httpx2.Response:
    """The response as httpx2 has it: exact headers and bytes, decoded as it decodes them."""
    import httpx2

    made = response_unread(found, asked, httpx2.ByteStream(found.body))
    left = _left_by_reading() if find(found.headers, "content-encoding") is None else None
    if left is None:
        made.read()
    else:
        vars(made).update(left, _content=found.body, _num_bytes_downloaded=len(found.body))
    return made


@cache
def _left_by_reading() -> dict[str, object] | None:
    """What reading a body that is not encoded leaves on a response: reading each takes longer than making it.

    Found by watching the httpx2 that is installed. None: it does what is not known here.
    """
    import httpx2

    made = httpx2.Response(200, stream=httpx2.ByteStream(b"x"))
    before = dict(vars(made))
    made.read()
    left = {name: value for name, value in vars(made).items() if name not in before or before[name] is not value}
    known = left.pop("_content", None) == b"x" and left.pop("_num_bytes_downloaded", None) == 1
    return left if known and left.keys() <= {"_decoder", "is_closed", "is_stream_consumed"} else None


def response_unread(
    found: FetchResponse, asked: Asked, body: httpx2.SyncByteStream | httpx2.AsyncByteStream
) -> httpx2.Response:
    """The same with a body that is still to be read."""
    import httpx2

    history: list[httpx2.Response] = []
    request = asked.request
    method = request.method
    for hop in found.history:
        history.append(_hop(hop.status, hop.headers, httpx2.Request(method, hop.url)))
        method = "GET" if becomes_get(hop.status, method) else method
    same = asked.target.text == found.url or clean_url(asked.target.text)[0] == found.url
    final = request if same and method == request.method else httpx2.Request(method, found.url, headers=request.headers)
    made = httpx2.Response(**head_of(found), stream=body, request=final, history=history)
    made.elapsed = timedelta(milliseconds=found.elapsed_ms)
    return made


def _hop(status: int, headers: tuple[Header, ...], request: httpx2.Request) -> httpx2.Response:
    import httpx2

    made = httpx2.Response(status, headers=raw_headers(headers), stream=httpx2.ByteStream(b""), request=request)
    made.read()
    return made


class Head(TypedDict):
    """What the responses of httpx and httpx2 are made with, beside their bodies."""

    status_code: int
    headers: list[tuple[bytes, bytes]]
    extensions: dict[str, Any]


def head_of(found: FetchResponse) -> Head:
    """The head of a recorded response."""
    extensions: dict[str, Any] = {"http_version": f"HTTP/{found.http_version}".encode("ascii")}
    if found.reason is not None:
        extensions["reason_phrase"] = _octets(found.reason)
    return {"status_code": found.status, "headers": raw_headers(found.headers), "extensions": extensions}


def raw_headers(headers: tuple[Header, ...]) -> list[tuple[bytes, bytes]]:
    """A recorded response's headers, as the bytes they were."""
    try:
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    except UnicodeEncodeError:
        return [(name.encode("latin-1", "replace"), _octets(value)) for name, value in headers]


def _octets(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def _request(url: UrlOrRequest, given: dict[str, Any], ready: bool) -> httpx2.Request:
    import httpx2

    members = {key: given[key] for key in _OF_REQUEST if given.get(key) is not None} if given else {}
    if ready:
        request = cast("httpx2.Request", url)
        _method(request.method)
    else:
        method, text = _method(given.get("method") or "GET").upper(), _text(url)
        where = parsed(text).url
        if not members and method not in _HAVE_LENGTH:
            request = httpx2.Request(method, where, headers=usual_to(text), stream=httpx2.ByteStream(b""))
            request.read()
        else:
            members["headers"] = _headers(given.get("headers"))
            request = httpx2.Request(method, where, **members)
    return authorised(request, given.get("auth"))


def _method(given: object) -> str:
    if not isinstance(given, str):
        raise TypeError(f"a method is a text such as 'POST', not {type(given).__name__}")
    return given


def _text(given: object) -> str:
    return str.__str__(given) if isinstance(given, str) else str(given)


def is_ready(url: UrlOrRequest, given: Mapping[str, Any]) -> bool:
    """Whether it is a ``Request``. Raises ``TypeError`` where parts of one are given too."""
    ready = hasattr(url, "headers") and hasattr(url, "method")
    if ready and ("method" in given or any(given.get(key) is not None for key in _OF_REQUEST)):
        raise TypeError("a ready Request brings its method, headers and body along: give fetch() one or the other")
    return ready


def _headers(given: Any) -> httpx2.Headers:
    """The user's headers over those that a client of httpx2 sends by itself."""
    if given is None:
        return usual_headers()  # a Request makes a copy
    headers = usual_headers().copy()
    headers.update(given)
    return headers


_HAVE_LENGTH = frozenset({"POST", "PUT", "PATCH", "QUERY"})
"""Their requests say that they have no body."""
_OF_REQUEST = ("params", "headers", "json", "data", "content", "files", "cookies")


_USUAL = FetchPolicy()
_FLAGS = frozenset({"follow_redirects", "at_most_once", "poll", "callback", "stream"})
_OF_POLICY = frozenset(FetchOptions.__annotations__) - {"id", "method", "auth", *_OF_REQUEST}


def make_policy(given: Mapping[str, Any]) -> FetchPolicy:
    """The policy that ``fetch``'s keywords describe. Raises ``ValueError``, ``TypeError``."""
    if given.keys().isdisjoint(_OF_POLICY):
        return _USUAL
    for name in _FLAGS & given.keys():
        if not isinstance(given[name], bool):
            raise TypeError(f"{name} is True or False, not {given[name]!r}")
    retry = given.get("retry")
    plan = Retry(attempts=retry) if type(retry) is int else Retry() if retry is None else retry
    if not isinstance(plan, Retry):
        raise TypeError(f"retry is a number of attempts or a Retry, not {type(plan).__name__}")
    if plan.attempts is not None and plan.attempts < 1:
        raise ValueError("retry attempts count all tries: 1 is the least, and means no second one")
    deadline, key = given.get("deadline"), given.get("idempotency_key")
    if isinstance(key, bytes):
        raise TypeError("an idempotency key is a text, not bytes")
    return FetchPolicy(
        attempts=plan.attempts,
        retry_on=None if plan.on is None else tuple(sorted(plan.on)),
        min_delay_ms=to_ms(plan.min_delay),
        max_delay_ms=to_ms(plan.max_delay),
        deadline_ms=None if deadline is None else to_ms(deadline),
        timeouts=timeouts(given["timeout"]) if "timeout" in given else Timeouts(),
        follow_redirects=given.get("follow_redirects", True),
        idempotency_key=_text(key) if isinstance(key, str) else key,
        idempotency_header=_text(given.get("idempotency_header", "Idempotency-Key")),
        at_most_once=given.get("at_most_once", False),
        poll=given.get("poll", False),
        callback=given.get("callback", False),
        max_body=_max_body(given.get("max_body")),
    )


def _max_body(given: int | str | None) -> int | None:
    return parse_size(given) if isinstance(given, str) else given
