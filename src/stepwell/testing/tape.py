"""The form of a cassette's file: readable JSON, exact bytes, no credentials. Pure."""

from __future__ import annotations

import base64
import re
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from stepwell.wire.encodings import CannotDecode, decode
from stepwell.wire.fetch import FetchBroken, FetchOutcome, FetchRequest, FetchResponse, Header, Hop
from stepwell.wire.fetch_headers import find, find_all, is_secret_word, is_sensitive, without
from stepwell.wire.masks import MASK

_STALE = frozenset({"content-encoding", "content-length", "transfer-encoding"})
_BOUNDARY = re.compile(r'boundary="?([^";,]+)"?')
_FORM = "application/x-www-form-urlencoded"
_SIGNATURES = ("sig", "signature")
_AS_LONG_AS_A_KEY = 20


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
    parts = urlsplit(request.url)
    authority = f"{MASK}@{parts.netloc.rpartition('@')[2]}" if "@" in parts.netloc else parts.netloc
    url = urlunsplit((parts.scheme, authority, parts.path, _masked_pairs(parts.query, more), parts.fragment))
    body = _request_body(request.body or b"", find(request.headers, "content-type") or "", more)
    return Request(request.method.upper(), url, _masked_headers(request.headers, more), _body(body))


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
    headers, content = _plain(outcome)
    history = tuple(
        Hop(hop.status, _masked_url(hop.url, more), _masked_headers(hop.headers, more))
        for hop in outcome.history[hops:]
    )
    response = Response(
        status=outcome.status,
        url=_masked_url(outcome.url, more),
        headers=_masked_headers(headers, more),
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


def _masked_headers(headers: tuple[Header, ...], more: frozenset[str]) -> tuple[Header, ...]:
    return tuple((name, _masked_value(name, value, more)) for name, value in headers)


def _masked_value(name: str, value: str, more: frozenset[str]) -> str:
    if is_sensitive(name) or name.lower() in more:
        return MASK
    return _masked_url(value, more) if name.lower() == "location" else value


def _masked_url(url: str, more: frozenset[str]) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, _masked_pairs(parts.query, more), parts.fragment))


def _masked_pairs(query: str, more: frozenset[str]) -> str:
    pairs = [
        (name, value, _masked_field(name, value, more)) for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    if all(value == shown for _, value, shown in pairs):
        return query
    return urlencode([(name, shown) for name, _, shown in pairs], safe="*")


def _masked_field(name: str, value: str, more: frozenset[str]) -> str:
    """What is called ``key`` may also be an ordinary word, which recordings are told apart by."""
    secret = is_secret_word(name) or name.lower() in more or name.lower().endswith(_SIGNATURES)
    return MASK if secret or (name.lower() == "key" and len(value) >= _AS_LONG_AS_A_KEY) else value


def _request_body(content: bytes, kind: str, more: frozenset[str]) -> bytes:
    if kind.startswith(_FORM):
        return _masked_pairs(content.decode("utf-8", "surrogateescape"), more).encode("utf-8", "surrogateescape")
    try:
        value: Any = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return content
    hidden = _masked_json(value, more)
    return content if hidden == value else msgspec.json.encode(hidden)


def _masked_json(value: Any, more: frozenset[str]) -> Any:
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {
            name: _masked_field(name, inner, more) if isinstance(inner, str) else _masked_json(inner, more)
            for name, inner in members.items()
        }
    return [_masked_json(each, more) for each in cast("list[Any]", value)] if isinstance(value, list) else value


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
