"""Hides what is a credential by its place in a text: parameters of URLs, their user part, authorization headers, keys."""

import re
from urllib.parse import unquote_plus

from stepwell.wire.fetch_headers import is_secret_parameter

MASK = "***"
_PARAMETER = re.compile(r"([?&#;]([^?&#;=\s\"']+)=)[^&#;\s\"]+")
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/?#\s@\"']+@", re.IGNORECASE)
_HEADER = re.compile(
    r"(authorization[\"']?\s*[:=,]\s*(?:b[\"']|[\"'])?)(?:(?:basic|bearer)\s+)?[^\s\"',)]+", re.IGNORECASE
)
_BEARER = re.compile(r"(\bbearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_KEY = re.compile(r"\b(signkey-\w+-)[0-9a-f]+", re.IGNORECASE)


def mask_url(url: str) -> str:
    """A URL with its user and password, and the values of parameters that are credentials by their name, replaced."""
    return _PARAMETER.sub(_parameter, _USER.sub(rf"\1{MASK}@", url))


def _parameter(found: re.Match[str]) -> str:
    return found[1] + MASK if is_secret_parameter(unquote_plus(found[2])) else found[0]


def mask_text(text: str) -> str:
    """Any text, likewise; also authorization headers and signing keys."""
    text = mask_url(text)
    for pattern in (_HEADER, _BEARER, _KEY):
        text = pattern.sub(rf"\1{MASK}", text)
    return text
