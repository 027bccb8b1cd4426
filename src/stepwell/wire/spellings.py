"""The ways in which servers write a text down when they repeat it: in URLs, forms, JSON and HTML. Pure."""

import html
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus

import msgspec

_KEPT_IN_URLS = ("", "/", "~()*!.'", "?/~!$'()*,;:@", "/~!$&'()*+,;=:@")
"""What is not percent-encoded: nothing, Python's default, ``encodeURIComponent``, all that a query's value may hold, a path."""
_NEVER_ESCAPED = re.compile(r"[A-Za-z0-9_.-]*")
_HEX = re.compile("%[0-9A-F]{2}")
_DOT_NET = re.compile(r"""[^\x20-\x7e]|["&'+<>`]""")


@lru_cache(maxsize=256)
def spellings(text: str) -> tuple[str, ...]:
    """The text and what it is written as, longest first; JSON also inside of a text in JSON."""
    if _NEVER_ESCAPED.fullmatch(text):
        return (text,)
    found = {text, *_in_urls(text), *_in_json(text), *_in_html(text)}
    found |= {twice for once in _in_json(text) for twice in _in_json(once)}
    return tuple(sorted(found, key=lambda each: (-len(each), each)))


def _in_urls(text: str) -> Iterator[str]:
    for kept in _KEPT_IN_URLS:
        for form in (quote(text, safe=kept), quote_plus(text, safe=kept)):
            yield form
            yield _HEX.sub(lambda found: found[0].lower(), form)


def _in_json(text: str) -> Iterator[str]:
    for form in (msgspec.json.encode(text)[1:-1].decode(), json.dumps(text)[1:-1]):
        yield form
        yield form.replace("/", "\\/")  # PHP
        yield re.sub("[&<>]", lambda found: f"\\u{ord(found[0]):04x}", form)  # Go, Rails
    yield _DOT_NET.sub(lambda found: f"\\u{ord(found[0]):04X}", text.replace("\\", "\\\\"))


def _in_html(text: str) -> Iterator[str]:
    yield html.escape(text, quote=False)
    yield html.escape(text)
    yield html.escape(text).replace("&#x27;", "&#39;")
    yield html.escape(text, quote=False).replace('"', "&#34;").replace("'", "&#39;")
