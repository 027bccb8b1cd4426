"""App URLs in the one form in which they are compared and called (protocol 1.3)."""

from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_LOCAL = frozenset({"127.0.0.1", "0.0.0.0"})  # noqa: S104
_DROPPED = frozenset({"deployId", "probe"})


def normalise_url(url: str) -> str:
    """The URL without ``deployId`` and ``probe``, its query sorted by key, without a default port.

    With another port, ``127.0.0.1`` and ``0.0.0.0`` become ``localhost`` (protocol 1.3).
    Raises ``ValueError`` for what is not an absolute URL.
    """
    problem = f"{url[:200]!r} is not an absolute URL, such as 'http://127.0.0.1:8000/api/stepwell'"
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise ValueError(problem) from None
    scheme, host = parts.scheme.lower(), parts.hostname
    if scheme not in _DEFAULT_PORTS or not host:
        raise ValueError(problem)
    kept = sorted(
        ((key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key not in _DROPPED),
        key=lambda pair: pair[0],
    )
    query = urlencode(kept, quote_via=quote, safe="")
    return urlunsplit((scheme, _authority(parts.netloc, scheme, host, port), parts.path, query, ""))


def with_query(url: str, **values: str) -> str:
    """``url`` with these query keys set, each in place of one that it had, and the keys sorted."""
    parts = urlsplit(url)
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in values]
    query = urlencode(sorted([*kept, *values.items()], key=lambda pair: pair[0]), quote_via=quote, safe="")
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def _authority(netloc: str, scheme: str, host: str, port: int | None) -> str:
    user, at, _ = netloc.rpartition("@")
    if port is None or port == _DEFAULT_PORTS[scheme]:
        shown = f"[{host}]" if ":" in host else host
    else:
        name = "localhost" if host in _LOCAL else host
        shown = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    return f"{user}{at}{shown}"
