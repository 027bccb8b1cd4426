"""A request as tests see it, and its description for people with the credentials masked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from stepwell.wire.fetch import FetchRequest, Header
from stepwell.wire.fetch_headers import find, is_sensitive

MASK = "***"
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class SentRequest:
    """One attempt of a durable request. ``attempt`` counts from 0; ``headers`` are ordered and may repeat."""

    method: str
    url: str
    headers: tuple[Header, ...] = ()
    content: bytes = b""
    attempt: int = 0

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON. Raises ``ValueError`` when it is none."""
        return msgspec.json.decode(self.content)

    def header(self, name: str) -> str | None:
        """The first value of a header, in any case of its name."""
        return find(self.headers, name.lower())

    @property
    def params(self) -> list[tuple[str, str]]:
        """The pairs of the query."""
        return parse_qsl(urlsplit(self.url).query, keep_blank_values=True)

    def __str__(self) -> str:
        """Method and URL, with a short body; credentials masked."""
        body = f" with the body {self.text[:_SHOWN]!r}" if self.content else ""
        return f"{self.method} {masked_url(self.url)}{body}"


def sent(request: FetchRequest, attempt: int) -> SentRequest:
    """The request of the wire as tests see it."""
    return SentRequest(request.method.upper(), request.url, request.headers, request.body or b"", attempt)


def masked_url(url: str) -> str:
    """The URL with its user, its password and the credentials of its query masked."""
    parts = urlsplit(url)
    query = parts.query
    pairs = parse_qsl(query, keep_blank_values=True)
    if any(is_sensitive(name) for name, _ in pairs):
        query = urlencode([(name, MASK if is_sensitive(name) else value) for name, value in pairs], safe="*")
    authority = parts.netloc
    if "@" in authority:
        authority = f"{MASK}@{authority.rpartition('@')[2]}"
    return urlunsplit((parts.scheme, authority, parts.path, query, parts.fragment))
