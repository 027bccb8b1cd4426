"""The options of a Gateway op: read from any SDK, written by ours (protocol 4.1 and 4.2).

Ours adds a ``stepwell`` member, which wins over the rest and keeps what the protocol's members lose: order and
repeats of headers, bytes of a body that is no text, the policy.
"""

import base64
import re
from typing import Any, cast

import msgspec

from stepwell.wire.fetch import FetchPolicy, FetchRequest, Header
from stepwell.wire.fetch_headers import clean_headers, find
from stepwell.wire.fetch_policy import check_policy, split_policy
from stepwell.wire.fetch_urls import clean_url

_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,40}")
_NO_BODY = (
    "the body arrived as an empty object: FormData, Blob, URLSearchParams and streams do not survive the SDK's JSON; "
    "send a string or a Uint8Array"
)


class BadGateway(ValueError):
    """Options that no request can be made of; trying again is no use. The message is one clear sentence."""


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bytes that are no text, or the text itself."""

    text: str | None = None
    b64: str | None = None


class _Rich(msgspec.Struct, frozen=True, kw_only=True):
    v: int = 1
    headers: tuple[Header, ...] = ()
    body: _Body | None = None
    policy: FetchPolicy = FetchPolicy()


class _Ours(msgspec.Struct, frozen=True):
    """The options of our own SDK's requests, but for those whose body is no text."""

    url: str
    method: str
    stepwell: _Rich
    body: str | None = None


_OURS = msgspec.json.Decoder(_Ours)


def parse_gateway(opts: bytes) -> FetchRequest:
    """The request that a Gateway op asks for. Raises :class:`BadGateway`.

    The method may be of any case; absent or empty means POST (protocol 4.2). The ``stepwell-*`` headers become the
    policy.
    """
    options = _options(opts)
    rich = _rich(options.get("stepwell"))
    body = _body(options.get("body")) if rich is None or rich.body is None else _unpack(rich.body)
    headers = _headers(options.get("headers")) if rich is None else rich.headers
    place = _text(options, "url")
    try:
        url, credentials = clean_url(place)
        headers, policy = split_policy(headers, FetchPolicy() if rich is None else rich.policy)
        check_policy(policy)
        headers = clean_headers(headers, body)
    except ValueError as error:
        raise BadGateway(f"This request can not be made: {error}.") from None
    if credentials is not None and find(headers, "authorization") is None:
        headers += (("Authorization", credentials),)
    return FetchRequest(
        url=url, method=_method(options), headers=headers, body=body, policy=policy, rich=rich is not None
    )


def render_gateway(request: FetchRequest) -> bytes:
    """The options of our SDK's Gateway op, as JSON; :func:`parse_gateway` gives the same request back, ``rich``."""
    joined: dict[str, str] = {}
    for name, value in request.headers:
        lower = name.lower()
        joined[lower] = f"{joined[lower]}, {value}" if lower in joined else value
    text, body = _pack(request.body)
    return msgspec.json.encode(
        {
            "url": request.url,
            "method": request.method,
            "headers": joined,
            "body": text,
            "stepwell": _Rich(headers=request.headers, body=body, policy=request.policy),
        }
    )


def _options(opts: bytes) -> dict[str, Any]:
    try:
        ours = _OURS.decode(opts)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # another SDK's, or none at all
    else:
        return {"url": ours.url, "method": ours.method, "body": ours.body, "stepwell": ours.stepwell}
    try:
        found: Any = msgspec.json.decode(opts)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadGateway("The options of this request are not valid JSON.") from None
    if not isinstance(found, dict):
        raise BadGateway("The options of this request are not a JSON object.")
    return cast("dict[str, Any]", found)


def _rich(raw: Any) -> _Rich | None:
    if raw is None or isinstance(raw, _Rich):
        return raw
    try:
        return msgspec.convert(raw, _Rich)
    except msgspec.ValidationError as error:
        raise BadGateway(f"The 'stepwell' member of this request's options can not be read: {error}.") from None


def _text(options: dict[str, Any], key: str) -> str:
    value = options.get(key)
    if not isinstance(value, str) or not value:
        raise BadGateway(f"This request can not be made: its options have no {key!r}.")
    return value


def _method(options: dict[str, Any]) -> str:
    method = options.get("method") or "POST"
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        raise BadGateway("This request can not be made: its method is not a word.")
    if method.upper() == "CONNECT":
        raise BadGateway("This request can not be made: CONNECT opens a tunnel, which has no result to record.")
    return method.upper()


def _headers(raw: Any) -> tuple[Header, ...]:
    if raw is None:
        return ()
    pairs: Any = list(cast("dict[str, Any]", raw).items()) if isinstance(raw, dict) else raw
    try:
        return msgspec.convert(pairs, tuple[Header, ...])
    except msgspec.ValidationError:
        raise BadGateway("This request can not be made: its headers are not names with text values.") from None


def _body(raw: Any) -> bytes | None:
    if raw is None:
        return None
    if isinstance(raw, str):
        return raw.encode("utf-8", "replace")
    data: Any = raw
    if isinstance(raw, dict):
        data = _from_object(cast("dict[str, Any]", raw))
    try:
        return bytes(msgspec.convert(data, list[int]))
    except (msgspec.ValidationError, ValueError):
        raise BadGateway(
            "This request can not be made: its body is neither text nor bytes; encode objects with JSON.stringify."
        ) from None


def _from_object(raw: dict[str, Any]) -> Any:
    """The numbers in what JSON makes of a ``Buffer`` or a ``Uint8Array``; None where it is neither."""
    if not raw:
        raise BadGateway(f"This request can not be made: {_NO_BODY}.")
    if raw.get("type") == "Buffer":
        return raw.get("data")
    return list(raw.values()) if list(raw) == [str(index) for index in range(len(raw))] else None


def _pack(body: bytes | None) -> tuple[str | None, _Body | None]:
    """A text for the protocol's own member, or else for ours the bytes: the body travels once."""
    if body is None:
        return None, None
    try:
        return body.decode(), None
    except UnicodeDecodeError:
        return None, _Body(b64=base64.b64encode(body).decode())


def _unpack(body: _Body | None) -> bytes | None:
    if body is None:
        return None
    if body.b64 is None:
        return (body.text or "").encode()
    try:
        return base64.b64decode(body.b64, validate=True)
    except ValueError:
        raise BadGateway("This request can not be made: its body is not valid base64.") from None
