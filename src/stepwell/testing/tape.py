"""The form of a cassette's file: readable JSON, exact bytes, no credentials. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from stepwell.testing.messages import MASK
from stepwell.wire.encodings import CannotDecode, decode
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchRequest, FetchResponse, Header, Hop
from stepwell.wire.fetch_headers import find, find_all, is_sensitive, without

_STALE = frozenset({"content-encoding", "content-length", "transfer-encoding"})
_BOUNDARY = re.compile(r'boundary="?([^";,]+)"?')
_FORM = "application/x-www-form-urlencoded"


class Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """A body: text where it is UTF-8, else base64."""

    text: str | None = None
    base64: str | None = None

    def content(self) -> bytes:
        """Its bytes."""
        return (self.text or "").encode() if self.base64 is None else base64.b64decode(self.base64)


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request, masked."""

    method: str
    url: str
    headers: tuple[Header, ...] = ()
    body: Body = Body()


class Response(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A response; its content coding is undone, so that people can read it. ``history``: redirects of the same attempt."""

    status: int
    url: str
    headers: tuple[Header, ...] = ()
    body: Body = Body()
    history: tuple[Hop, ...] = ()
    http_version: str = "1.1"
    reason: str | None = None


class Broken(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An attempt without a response."""

    kind: str
    message: str
    sent: bool = False
    final: bool = False


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One attempt: its request, and what came of it."""

    request: Request
    response: Response | None = None
    failure: Broken | None = None


class Tape(msgspec.Struct, kw_only=True):
    """The file."""

    version: int = 1
    entries: list[Entry] = []


def masked(request: FetchRequest, more: frozenset[str] = frozenset()) -> Request:
    """The request as it is written: values of sensitive names replaced, in headers, query and a JSON or form body."""
    secret = _secret(more)
    parts = urlsplit(request.url)
    authority = f"{MASK}@{parts.netloc.rpartition('@')[2]}" if "@" in parts.netloc else parts.netloc
    url = urlunsplit((parts.scheme, authority, parts.path, _masked_pairs(parts.query, secret), parts.fragment))
    body = _request_body(request.body or b"", find(request.headers, "content-type") or "", secret)
    return Request(request.method.upper(), url, _masked_headers(request.headers, secret), _body(body))


def key_of(request: Request) -> tuple[str, str, bytes]:
    """What a recording is found by. A multipart boundary is random, and so is left out."""
    content = request.body.content()
    boundary = _BOUNDARY.search(find(request.headers, "content-type") or "")
    if boundary is not None:
        content = content.replace(boundary.group(1).strip().encode(), b"boundary")
    return request.method, request.url, content


def entry(request: Request, outcome: FetchOutcome, more: frozenset[str] = frozenset(), hops: int = 0) -> Entry:
    """An attempt as it is written; the first ``hops`` redirects of its history are those of earlier ones."""
    if isinstance(outcome, FetchBroken):
        broken = Broken(kind=outcome.kind, message=outcome.message, sent=outcome.sent, final=outcome.final)
        return Entry(request=request, failure=broken)
    secret = _secret(more)
    headers, content = _plain(outcome)
    history = tuple(
        Hop(hop.status, _masked_url(hop.url, secret), _masked_headers(hop.headers, secret))
        for hop in outcome.history[hops:]
    )
    response = Response(
        status=outcome.status,
        url=_masked_url(outcome.url, secret),
        headers=_masked_headers(headers, secret),
        body=_body(content),
        history=history,
        http_version=outcome.http_version,
        reason=outcome.reason,
    )
    return Entry(request=request, response=response)


def outcome_of(recorded: Entry, request: FetchRequest) -> FetchOutcome:
    """The outcome that was written. Where a URL in it is the request's, it is the one asked for now."""
    failure, response, asked = recorded.failure, recorded.response, recorded.request.url
    if failure is not None:
        return FetchBroken(kind=failure.kind, message=failure.message, sent=failure.sent, final=failure.final)
    if response is None:
        raise ValueError(f"the recording of {recorded.request.method} {recorded.request.url} has no response")
    return FetchResponse(
        status=response.status,
        url=request.url if response.url == asked else response.url,
        headers=response.headers,
        body=response.body.content(),
        history=tuple(
            Hop(hop.status, request.url if hop.url == asked else hop.url, hop.headers) for hop in response.history
        ),
        http_version=response.http_version,
        reason=response.reason,
    )


def first_hop(outcome: FetchResponse) -> FetchResponse:
    """What a request gets that follows no redirects, where the recorded one did. The bodies of redirects are not kept."""
    hop = outcome.history[0]
    return FetchResponse(status=hop.status, url=hop.url, headers=without(hop.headers, _STALE))


def _secret(more: frozenset[str]) -> Callable[[str], bool]:
    return lambda name: is_sensitive(name) or name.lower() in more


def _masked_headers(headers: tuple[Header, ...], secret: Callable[[str], bool]) -> tuple[Header, ...]:
    return tuple((name, _masked_value(name, value, secret)) for name, value in headers)


def _masked_value(name: str, value: str, secret: Callable[[str], bool]) -> str:
    if secret(name):
        return MASK
    return _masked_url(value, secret) if name.lower() == "location" else value


def _masked_url(url: str, secret: Callable[[str], bool]) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, _masked_pairs(parts.query, secret), parts.fragment))


def _masked_pairs(query: str, secret: Callable[[str], bool]) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    if not any(secret(name) for name, _ in pairs):
        return query
    return urlencode([(name, MASK if secret(name) else value) for name, value in pairs], safe="*")


def _request_body(content: bytes, kind: str, secret: Callable[[str], bool]) -> bytes:
    if kind.startswith(_FORM):
        return _masked_pairs(content.decode("utf-8", "surrogateescape"), secret).encode("utf-8", "surrogateescape")
    try:
        value: Any = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return content
    hidden = _masked_json(value, secret)
    return content if hidden == value else msgspec.json.encode(hidden)


def _masked_json(value: Any, secret: Callable[[str], bool]) -> Any:
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {
            name: MASK if isinstance(inner, str) and secret(name) else _masked_json(inner, secret)
            for name, inner in members.items()
        }
    return [_masked_json(each, secret) for each in cast("list[Any]", value)] if isinstance(value, list) else value


def _plain(response: FetchResponse) -> tuple[tuple[Header, ...], bytes]:
    codings = find_all(response.headers, "content-encoding")
    if not codings:
        return response.headers, response.body
    try:
        return without(response.headers, _STALE), decode(response.body, codings, 1 << 30)
    except CannotDecode:
        return response.headers, response.body


def _body(content: bytes) -> Body:
    try:
        return Body(text=content.decode()) if content else Body()
    except UnicodeDecodeError:
        return Body(base64=base64.b64encode(content).decode())
