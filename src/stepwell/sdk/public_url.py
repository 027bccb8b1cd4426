"""Under which URL the platform reaches the app: settings first, then what proxies say, then the request itself."""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from stepwell.errors import ConfigError

_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


def check_origin(text: str) -> str:
    """An origin in full, such as ``https://app.example.com``; a bare host means https. Raises ``ConfigError``."""
    full = text.strip().rstrip("/")
    full = full if "://" in full else f"https://{full}"
    scheme, _, host = full.partition("://")
    if scheme.lower() not in {"http", "https"} or not _HOST.fullmatch(host):
        raise ConfigError(
            f"{text!r} is no origin: write a scheme and a host, such as https://app.example.com (a path is serve_path's)"
        )
    return full


def check_path(text: str) -> str:
    """A path that begins with a slash, without query. Raises ``ConfigError``."""
    if "://" in text or any(mark in text for mark in "?# \t\r\n"):
        raise ConfigError(f"{text!r} is no path: write one such as /api/stepwell")
    return text if text.startswith("/") else f"/{text}"


def with_settings(url: str, origin: str | None, path: str | None) -> str:
    """``url`` without query, with the ``origin`` and the ``path`` that are set in place of its own."""
    parts = urlsplit(url)
    chosen = urlsplit(origin) if origin else parts
    return urlunsplit((chosen.scheme, chosen.netloc, path or parts.path, "", ""))


def forwarded_url(url: str, headers: Mapping[str, str], *, trusted: bool) -> str:
    """``url`` as the client of the outermost proxy asked for it, by ``x-forwarded-proto`` and ``x-forwarded-host``.

    Args:
        url: of the request that reached the app.
        headers: by lower-case name; of several values the first one counts, which the outermost proxy wrote.
        trusted: whether the host counts. Anyone can send the header, and a false host would lead the runs elsewhere.
    """
    parts = urlsplit(url)
    proto, host = _first(headers, "x-forwarded-proto").lower(), _first(headers, "x-forwarded-host")
    scheme = proto if proto in {"http", "https"} else parts.scheme
    netloc = host if trusted and _HOST.fullmatch(host) else parts.netloc
    return urlunsplit(parts._replace(scheme=scheme, netloc=netloc))


def _first(headers: Mapping[str, str], name: str) -> str:
    return headers.get(name, "").partition(",")[0].strip()
