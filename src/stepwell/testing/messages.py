"""A request as tests see it, and its description for people with the credentials masked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from stepwell.wire.fetch import FetchRequest, Header
from stepwell.wire.fetch_headers import find
from stepwell.wire.masks import mask_url

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
        """Method and URL, its credentials masked, with a short body."""
        body = f" with the body {self.text[:_SHOWN]!r}" if self.content else ""
        return f"{self.method} {mask_url(self.url)}{body}"


def sent(request: FetchRequest, attempt: int) -> SentRequest:
    """The request of the wire as tests see it."""
    return SentRequest(request.method.upper(), request.url, request.headers, request.body or b"", attempt)
