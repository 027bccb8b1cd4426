"""Absolute http(s) URLs: checked, made sendable byte by byte, and named without their secrets."""

import base64
import re
from functools import lru_cache
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit, urlunsplit

from stepwell.wire.hosts import ascii_host

_QUERY = frozenset(range(0x21, 0x7F)) - frozenset(b'"<>')
_PATH = _QUERY - frozenset(b"`{}")
"""What clients send as it is, though the grammar has no place for all of it: a signature may be over just these bytes."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_HOST = re.compile(r'[ %"<>\\^`{|}@\[\]]')
DEFAULT_PORTS = {"http": 80, "https": 443}


class BadUrl(ValueError):
    """A URL that no request can be sent to; the message says why."""


@lru_cache(maxsize=1_024)  # most requests go to few URLs
def clean_url(url: str) -> tuple[str, str | None]:
    """The URL as it is sent, and the ``Authorization`` value of the user and password in it, if it has some.

    Only what may not stand in a URL is percent-encoded (UTF-8), an empty path becomes ``/``, a host of other letters
    its IDNA form; all else keeps its bytes. Raises :class:`BadUrl` with one clear sentence.
    """
    if _CONTROL.search(url):
        raise BadUrl("the URL holds a control character")
    try:
        parts = urlsplit(url.strip())
        port, host = parts.port, parts.hostname
    except ValueError:
        raise BadUrl("the URL can not be read: its port or its address is not valid") from None
    shown = f"{parts.scheme[:20]}:" if parts.scheme else "a relative one"
    if parts.scheme not in DEFAULT_PORTS:
        raise BadUrl(f"the URL must be absolute and start with http:// or https://, not {shown}")
    if not host or port == 0:
        raise BadUrl("the URL names no host" if not host else "the URL names port 0")
    authority = _host(host) + ("" if port is None or port == DEFAULT_PORTS[parts.scheme] else f":{port}")
    clean = urlunsplit(
        (parts.scheme, authority, _quote(parts.path, _PATH) or "/", _quote(parts.query), _quote(parts.fragment))
    )
    return clean, _basic(parts)


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a clean URL (RFC 6454)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 0)


def place(url: str) -> str:
    """A URL for people and logs: scheme, host, port and nothing that may be a secret."""
    try:
        scheme, host, port = origin(url)
    except ValueError:
        return "the URL"
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" + ("" if port == DEFAULT_PORTS.get(scheme) else f":{port}")


def becomes_get(status: int, method: str) -> bool:
    """Whether what follows this redirect is a GET without a body (RFC 9110, 15.4)."""
    if status == 303:
        return method not in ("GET", "HEAD")
    return status in (301, 302) and method == "POST"


def _host(host: str) -> str:
    if ":" in host:
        if "%" in host:
            raise BadUrl("the URL's address has a zone id, which means nothing on another machine")
        return f"[{host}]"
    try:
        host = ascii_host(host)
    except ValueError:
        raise BadUrl("the URL's host is not a valid name") from None
    if _NO_HOST.search(host):
        raise BadUrl("the URL's host holds a character that no host has")
    return host


def _quote(text: str, kept: frozenset[int] = _QUERY) -> str:
    data = text.encode("utf-8", "surrogatepass")
    if kept.issuperset(data):
        return text
    return "".join(chr(byte) if byte in kept else f"%{byte:02X}" for byte in data)


def _basic(parts: SplitResult) -> str | None:
    if parts.username is None and parts.password is None:
        return None
    pair = unquote_to_bytes(parts.username or "") + b":" + unquote_to_bytes(parts.password or "")
    return "Basic " + base64.b64encode(pair).decode()
