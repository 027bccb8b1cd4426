"""Whether a text is in JSON, as people see it: quotes, backslashes and letters stand there escaped. Pure."""

import re
from collections.abc import Callable

_ESCAPE = re.compile(r'\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|\\u([0-9a-f]{4})|\\(["\\/bfnrt])', re.IGNORECASE)
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def finder(text: str) -> Callable[[str], bool]:
    """Whether a piece of JSON, which may be cut anywhere, has ``text``: as it is stored, as it is meant, or as a page shows it.

    Large and small letters are the same.
    """
    typed = text.casefold()
    meant = _unspaced(_plain(text))

    def found(stored: str) -> bool:
        if typed in stored.casefold():
            return True
        plain = _plain(stored)
        return typed in plain or meant in _unspaced(plain)

    return found


def _plain(text: str) -> str:
    return _ESCAPE.sub(_letter, text).casefold() if "\\" in text else text.casefold()


def _letter(match: re.Match[str]) -> str:
    high, low, one, short = match.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF))
    return chr(int(one, 16)) if one else _SHORT.get(short, short)


def _unspaced(text: str) -> str:
    """Without the space after a name, which a page shows and what is stored seldom has."""
    return text.replace('": ', '":')
