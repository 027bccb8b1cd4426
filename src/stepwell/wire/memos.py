"""The recorded result of a durable request, as JSON: for any SDK (protocol 4.1) and, exact to the byte, for ours."""

import base64
from typing import Any

import msgspec

from stepwell.wire.constants import MAX_STEP_OUTPUT, MAX_TEXT_BODY
from stepwell.wire.encodings import CannotDecode, UnknownCoding, decode
from stepwell.wire.fetch import FetchBroken, FetchResponse, Header, Hop
from stepwell.wire.fetch_headers import find, find_all

_NULL_BODY = frozenset({101, 103, 204, 205, 304})
"""Statuses for which a ``Response`` of the web refuses any body but null."""
_STALE = frozenset({"content-encoding", "content-length", "transfer-encoding"})

_RESPONSE, _TEXT, _B64, _HISTORY = b'{"data":{"status":', b'"text":', b'"b64":', b'"history":'
"""Within a JSON text the quotes of such a name would be escaped, and as a header's it would have no colon."""


class BadMemo(ValueError):
    """A memo that is no result of a request."""


class _RichData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    status: int
    url: str
    headers: tuple[Header, ...] = ()
    text: str | None = None
    b64: str | None = None
    ref: str | None = None
    size: int = 0
    history: tuple[Hop, ...] = ()
    elapsed_ms: float = 0.0
    http_version: str = "1.1"
    reason: str | None = None


class _RichMemo(msgspec.Struct, frozen=True):
    data: _RichData


_RICH = msgspec.json.Decoder(_RichMemo)


class _PlainData(msgspec.Struct, frozen=True):
    url: str
    headers: dict[str, str]
    body: str | None
    status_code: int


def memo(response: FetchResponse, rich: bool, body_ref: str | None = None) -> bytes:
    """The memo of a response: ``{"data": ...}``, or ``{"error": ...}`` where a text-only SDK can not take its body.

    ``rich``: our own SDK asked; body as received, or ``body_ref`` where it is kept beside the state. Else: decoded
    text, the stale headers removed, null for a status that has no body.
    """
    return _rich(response, body_ref) if rich else _plain(response)


def is_error(data: bytes) -> bool:
    """Whether a memo made here is an error."""
    return data.startswith(b'{"error":')


def is_value(data: bytes) -> bool:
    """Whether a memo is the value of a step that ended well."""
    return data.startswith(b'{"data":')


def is_plain_response(data: bytes) -> bool:
    """Whether a memo made here for our own SDK is a response that reading can not fail on.

    Its body is in it and not encoded, and no redirect led there: what httpx makes of either may be an error.
    """
    if not data.startswith(_RESPONSE):
        return False
    body = data.find(_TEXT)
    if body < 0 and (body := data.find(_B64)) < 0:
        return False
    return b"content-encoding" not in data[:body].lower() and data.find(_HISTORY, body) < 0


def error_memo(broken: FetchBroken, attempts: int, rich: bool) -> bytes:
    """The memo of a request that got no response."""
    tries = "" if attempts <= 1 else f" ({attempts} attempts)"
    message = broken.message + tries
    if not rich:
        return _error(message, broken.kind, attempts, "GatewayError")
    return _error(message, broken.kind, attempts, "FetchError", {} if broken.sent else {"sent": False})


def parse_memo(data: bytes) -> tuple[FetchResponse, str | None]:
    """A response memo, rich or not, and the reference of a body kept elsewhere. Raises :class:`BadMemo`."""
    try:
        found = _read(data)
        if isinstance(found, _PlainData):
            return _from_plain(found), None
        body = base64.b64decode(found.b64, validate=True) if found.b64 is not None else (found.text or "").encode()
    except (msgspec.MsgspecError, ValueError, KeyError, TypeError) as error:  # ValueError: no base64, or no UTF-8
        raise BadMemo(f"the recorded result of a request can not be read: {error}") from None
    response = FetchResponse(
        status=found.status,
        url=found.url,
        headers=found.headers,
        body=body,
        stored=None if found.ref is None else found.size,
        history=found.history,
        http_version=found.http_version,
        reason=found.reason,
        elapsed_ms=found.elapsed_ms,
    )
    return response, found.ref


def _read(data: bytes) -> _RichData | _PlainData:
    try:
        return _RICH.decode(data).data
    except msgspec.ValidationError:
        raw: Any = msgspec.json.decode(data)["data"]
        if "status_code" not in raw:
            raise
        return msgspec.convert(raw, _PlainData)


def _rich(response: FetchResponse, body_ref: str | None) -> bytes:
    text, b64 = (None, None) if body_ref is not None else _exact(response.body)
    found = _RichData(
        status=response.status,
        url=response.url,
        headers=response.headers,
        text=text,
        b64=b64,
        ref=body_ref,
        size=len(response.body) if response.stored is None else response.stored,
        history=response.history,
        elapsed_ms=round(response.elapsed_ms, 3),
        http_version=response.http_version,
        reason=response.reason,
    )
    return msgspec.json.encode({"data": found})


def _exact(body: bytes) -> tuple[str | None, str | None]:
    try:
        return body.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(body).decode()


def _plain(response: FetchResponse) -> bytes:
    try:
        text, stale = _text(response)
        _check_size(text or "")
    except CannotDecode as error:
        return _error(f"The response of status {response.status} arrived, but {error}.", "invalid", 1, "GatewayError")
    found = _PlainData(
        url=response.url, headers=_joined(response.headers, stale), body=text, status_code=response.status
    )
    return msgspec.json.encode({"data": found})


def _text(response: FetchResponse) -> tuple[str | None, frozenset[str]]:
    """The body as text, null for a status that has none, and the headers that do not fit it any more.

    A coding that is none, such as the ``utf-8`` and ``aws-chunked`` of some servers, is left to the reader, as clients do.
    """
    try:
        plain = decode(response.body, find_all(response.headers, "content-encoding"), MAX_TEXT_BODY)
        return None if response.status in _NULL_BODY else _decoded(plain, response.headers), _STALE
    except UnknownCoding as unknown:
        try:
            return response.body.decode(), _STALE - {"content-encoding"}
        except UnicodeDecodeError:
            raise unknown from None


def _check_size(text: str) -> None:
    size = len(text.encode()) if len(text) * 4 > MAX_STEP_OUTPUT else 0
    if size > MAX_STEP_OUTPUT:
        raise CannotDecode(
            f"its body is {size} bytes of text, more than the {MAX_STEP_OUTPUT} that a step of this SDK may have: fetch it "
            "with the Stepwell Python SDK, or ask the server for less"
        )


def _decoded(body: bytes, headers: tuple[Header, ...]) -> str:
    kind = find(headers, "content-type") or ""
    charset = "utf-8"
    for part in kind.split(";")[1:]:
        key, _, value = part.partition("=")
        if key.strip().lower() == "charset":
            charset = value.strip().strip("\"'") or charset
    for name in (charset, "utf-8"):
        try:
            return body.decode(name)
        except (UnicodeError, LookupError, ValueError):
            continue
    raise CannotDecode(
        f"its body is binary ({kind.split(';')[0].strip()[:80] or 'no content type'}) and this SDK takes text only; "
        "fetch it with the Stepwell Python SDK, or ask the server for text"
    )


def _joined(headers: tuple[Header, ...], left_out: frozenset[str]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        if name.lower() in left_out:
            continue
        key = "-".join(word.capitalize() for word in name.split("-"))
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


def _from_plain(found: _PlainData) -> FetchResponse:
    return FetchResponse(
        status=found.status_code,
        url=found.url,
        headers=tuple(found.headers.items()),
        body=(found.body or "").encode("utf-8", "replace"),
    )


def _error(message: str, kind: str, attempts: int, name: str, more: dict[str, bool] | None = None) -> bytes:
    error = {"name": name, "message": message, "kind": kind, "attempts": attempts, **(more or {})}
    return msgspec.json.encode({"error": error})
