"""What stays of a request once it was made, for people: credentials masked, references to secrets as they are."""

import re
from typing import Final, cast

import msgspec

from stepwell.wire.fetch import FetchRequest, Header
from stepwell.wire.fetch_headers import find, is_secret_word, is_sensitive
from stepwell.wire.jsons import decode
from stepwell.wire.masks import MASK, mask_text, mask_url
from stepwell.wire.secrets import refers_only
from stepwell.wire.spellings import spellings

INLINE: Final = 1024
"""Bytes of a body that are kept with the step; larger ones lie beside the state."""
MOST: Final = 256 * 1024
"""Larger ones are not kept."""
_SHORTEST: Final = 6
"""Shorter credentials are not looked for elsewhere in the request: they would be found in words."""
_MAY_HOLD: Final = re.compile(rb"pass|pwd|secret|token|key|credential|auth|bearer|jwt|sig|code|://")
_FORM: Final = "application/x-www-form-urlencoded"


class RequestCopy(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request as it was asked for. ``url``: without query and fragment.

    Its body is ``text``, or ``data`` where it is no text, or beside the state under ``ref``; ``size`` (bytes) tells of one
    that is not here.
    """

    method: str
    url: str
    query: str = ""
    headers: tuple[Header, ...] = ()
    text: str | None = None
    data: bytes | None = None
    ref: str | None = None
    size: int = 0
    follows: bool = False
    """Whether redirects were followed."""


def copied(request: FetchRequest, ref: str) -> tuple[bytes, bytes | None]:
    """The copy as JSON, and the body that is to be kept under ``ref``."""
    url, _, query = request.url.partition("#")[0].partition("?")
    literal = _credentials(request.headers)
    headers = tuple([(name, _header(name, value, literal)) for name, value in request.headers])
    made = RequestCopy(request.method, url, headers=headers, follows=request.policy.follow_redirects)
    if query:
        made = msgspec.structs.replace(made, query=_hidden(mask_url(f"?{query}")[1:], literal))
    body = request.body
    if not body:
        return msgspec.json.encode(made), None
    body = _body(body, request.headers, literal) if len(body) <= MOST else body
    if len(body) > INLINE:
        kept = body if len(body) <= MOST else None
        made = msgspec.structs.replace(made, size=len(body), ref=ref if kept else None)
        return msgspec.json.encode(made), kept
    text = as_text(body)
    return msgspec.json.encode(msgspec.structs.replace(made, text=text, data=body if text is None else None)), None


def read_copy(info: bytes | None) -> RequestCopy | None:
    """The copy that a step has; None for one that is no request."""
    try:
        return msgspec.json.decode(info or b"", type=RequestCopy)
    except msgspec.MsgspecError:
        return None


def as_text(body: bytes) -> str | None:
    """The body where it is text."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _credentials(headers: tuple[Header, ...]) -> list[str]:
    """Those that headers have literally, which may be in other places as well."""
    found: list[str] = []
    for name, value in headers:
        if is_sensitive(name) and not refers_only(name, value):
            parts = value.split()
            scheme = len(parts) > 1 and name.lower().endswith("authorization")
            found += [part for part in parts[scheme:] if len(part) >= _SHORTEST]
    return found


def _header(name: str, value: str, literal: list[str]) -> str:
    if is_sensitive(name):
        return value if refers_only(name, value) else MASK
    return _hidden(mask_url(value) if "://" in value else value, literal)


def _hidden(text: str, literal: list[str]) -> str:
    for credential in literal:
        for spelling in spellings(credential):
            text = text.replace(spelling, MASK)
    return text


def _body(body: bytes, headers: tuple[Header, ...], literal: list[str]) -> bytes:
    """The body as it is but for what is a credential: by its name, or as one of the headers."""
    for credential in literal:
        for spelling in spellings(credential):
            body = body.replace(spelling.encode(), MASK.encode())
    if _MAY_HOLD.search(body.lower()) is None or (text := as_text(body)) is None:
        return body
    kind = (find(headers, "content-type") or "").partition(";")[0].strip().lower()
    if kind == _FORM:
        return mask_url(f"?{text}")[1:].encode()
    if text.lstrip()[:1] in ("{", "["):
        try:
            value = decode(body)
        except ValueError:
            return mask_text(text).encode()
        masked = _masked(value)
        return body if masked == value else msgspec.json.encode(masked)
    return mask_text(text).encode()


def _masked(value: object) -> object:
    """A JSON value with the texts replaced that members called ``password``, ``api_key`` or the like have."""
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        return {name: _member(name, each) for name, each in members.items()}
    return [_masked(each) for each in cast("list[object]", value)] if isinstance(value, list) else value


def _member(name: str, value: object) -> object:
    secret = isinstance(value, str) and is_secret_word(name) and not refers_only(name, value)
    return MASK if secret else _masked(value)
