"""Headers of a durable request: what may be sent, what must not, and which of them are credentials."""

import re
from collections.abc import Iterable
from functools import lru_cache

from stepwell.wire.fetch import Header

SENSITIVE: frozenset[str] = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "cookie",
        "cookie2",
        "set-cookie",
        "x-api-key",
        "api-key",
        "x-auth-token",
        "x-access-token",
        "x-amz-security-token",
        "x-csrf-token",
        "x-goog-api-key",
        "x-xsrf-token",
    }
)
"""Lower-case names whose values are credentials: never sent to another origin, never shown."""

_WORDS = (
    r"(?:[a-z0-9]*(?:api[-_]?key|secret|token|password|passwd|passphrase|credential)|pass|pwd|jwt|auth|authorization|authentication"
    r"|(?:access|account|app|auth|client|fastly|functions|master|private|service|shared|subscription)[-_]?key)s?"
)
_SECRET_WORDS = re.compile(rf"(?:^|[-_]){_WORDS}(?:$|[-_])")
_SECRET_END = re.compile(rf"(?:^|[-_])(?:{_WORDS}|key|code|sig|signature)$")
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_JOINTS = re.compile(r"[^A-Za-z0-9-]+")

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DROPPED = frozenset({"connection", "keep-alive", "proxy-connection", "expect"})
"""Belong to one connection, which is ours: harmless, and left out."""
_REFUSED = frozenset({"upgrade", "trailer", "te", "http2-settings"})
_FRAMING = _DROPPED | _REFUSED | {"transfer-encoding", "content-length"}


class BadHeader(ValueError):
    """A header that would break the request's framing; the message names it."""


_further: set[str] = set()
_FIGURES = ("x-ratelimit-", "ratelimit-", "anthropic-ratelimit-")
"""Quotas count tokens of another kind."""


def also_sensitive(names: Iterable[str]) -> None:
    """Treat these headers as credentials too, in this process (a setting of the platform)."""
    _further.update(name.lower() for name in names)
    is_sensitive.cache_clear()


@lru_cache(maxsize=1_024)
def is_sensitive(name: str) -> bool:
    """Whether the header's value is a credential, by its name."""
    lower = name.lower()
    if lower in SENSITIVE or lower in _further:
        return True
    return _SECRET_WORDS.search(lower) is not None and not lower.startswith(_FIGURES)


def is_secret_word(name: str) -> bool:
    """Whether a field of this name is a credential: ``password``, ``api_key``, ``clientSecret``, ``user[token]``."""
    return _SECRET_WORDS.search(_words(name)) is not None


@lru_cache(maxsize=1_024)
def is_secret_parameter(name: str) -> bool:
    """Whether a parameter of a URL or a form is one: also ``key``, ``sig``, ``code``."""
    return _SECRET_END.search(_words(name)) is not None


def _words(name: str) -> str:
    return _HUMPS.sub("_", _JOINTS.sub("_", name).strip("_")).lower()


def find(headers: Iterable[Header], name: str) -> str | None:
    """The first value of a header, in any case of its name."""
    for key, value in headers:
        if key.lower() == name:
            return value
    return None


def find_all(headers: Iterable[Header], name: str) -> list[str]:
    """All values of a header, in order."""
    return [value for key, value in headers if key.lower() == name]


def without(headers: Iterable[Header], names: frozenset[str]) -> tuple[Header, ...]:
    """The headers but for these lower-case names."""
    return tuple(pair for pair in headers if pair[0].lower() not in names)


def clean_headers(headers: Iterable[Header], body: bytes | None) -> tuple[Header, ...]:
    """The headers that are sent: checked (RFC 9110, 5.5 and 5.6.2), without those that belong to one connection.

    Raises :class:`BadHeader` for bad names, CR, LF or NUL in values, an upgrade, a transfer coding other than
    chunked, and a Content-Length that is not the body's length.
    """
    kept: list[Header] = []
    lengths = 0
    for name, value in headers:
        lower = _checked(name)
        if _BAD_VALUE.search(value):
            raise BadHeader(f"the value of the header {name!r} holds a line break or another control character")
        if lower in _FRAMING:
            if lower in _REFUSED and value.strip().lower() != "trailers":
                raise BadHeader(
                    f"the header {name!r} belongs to one connection and can not be part of a durable request"
                )
            if lower in _DROPPED or _dropped(lower, value):
                continue
            if lower == "content-length":
                lengths += 1
                _check_length(value, body, lengths)
        kept.append((name, value.strip(" \t")))
    return tuple(kept)


@lru_cache(maxsize=1_024)
def _checked(name: str) -> str:
    """The name in lower case. Raises :class:`BadHeader` for what is none."""
    if not _TOKEN.fullmatch(name):
        raise BadHeader(f"{name[:60]!r} is not a valid header name")
    return name.lower()


def _dropped(lower: str, value: str) -> bool:
    if lower == "te":
        return True
    if lower != "transfer-encoding":
        return False
    if value.strip().lower() not in ("chunked", "identity"):
        raise BadHeader("the header 'transfer-encoding' can only be 'chunked'; the platform frames the body itself")
    return True


def _check_length(value: str, body: bytes | None, count: int) -> None:
    size = len(body or b"")
    if count > 1 or not (value.strip().isascii() and value.strip().isdigit() and int(value) == size):
        raise BadHeader(f"the header 'content-length' does not fit the body, which has {size} bytes; leave it out")
