"""The words of an expression."""

import re
from typing import Final, NamedTuple

from stepwell.core.cel.errors import ExpressionError

_WORD: Final = re.compile(
    r"""(?P<space>(?:\s|//[^\n]*)+)
    |(?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
    |(?P<hex>0[xX][0-9a-fA-F]+[uU]?)
    |(?P<int>\d+[uU]?)
    |(?P<string>(?:[rRbB]{1,2})?(?:\"\"\"(?s:.)*?\"\"\"|'''(?s:.)*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>==|!=|<=|>=|&&|\|\||[-+*/%!<>?:.,()\[\]{}])""",
    re.ASCII | re.VERBOSE,
)
_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))", re.DOTALL | re.ASCII
)
_SIMPLE: Final = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"} | {
    c: c for c in "\\'\"`?"
}
_MAX_NUMBER: Final = 400


class Token(NamedTuple):
    """A word: its ``kind`` (int, float, string, bytes, name, sign, end), its value, its place."""

    kind: str
    value: str | int | float | bytes
    at: int


def tokens(text: str) -> list[Token]:
    """The words of ``text``, with an ``end`` behind the last one. Raises ExpressionError."""
    found: list[Token] = []
    position = 0
    while position < len(text):
        match = _WORD.match(text, position)
        if match is None:
            raise ExpressionError(f"unexpected {text[position]!r} at character {position + 1}")
        if match.lastgroup != "space":
            found.append(_token(match.lastgroup or "", match.group(), position))
        position = match.end()
    found.append(Token("end", "", len(text)))
    return found


def _token(kind: str, word: str, at: int) -> Token:
    if kind in ("int", "hex", "float") and len(word) > _MAX_NUMBER:
        raise ExpressionError(f"the number at character {at + 1} is too long")
    if kind == "int":
        return Token("int", int(word.rstrip("uU")), at)
    if kind == "hex":
        return Token("int", int(word.rstrip("uU"), 16), at)
    if kind == "float":
        return Token("float", float(word), at)
    if kind == "string":
        return _string(word, at)
    return Token(kind, word, at)


def _string(word: str, at: int) -> Token:
    body = word.lstrip("rRbB")
    prefix = word[: len(word) - len(body)].lower()
    quotes = 3 if len(body) >= 6 and body[:3] in ('"""', "'''") else 1
    inner = body[quotes:-quotes]
    value = inner if "r" in prefix else _ESCAPE.sub(lambda match: _unescape(match, at), inner)
    if "b" in prefix:
        return Token("bytes", value.encode(), at)
    return Token("string", value, at)


def _unescape(match: re.Match[str], at: int) -> str:
    code = match.group(1) or match.group(2) or match.group(3)
    octal, simple = match.group(4), match.group(5)
    try:
        if code or octal:
            char = chr(int(code, 16) if code else int(octal, 8))
            char.encode()
            return char
        return _SIMPLE[simple]
    except (KeyError, ValueError, OverflowError):
        raise ExpressionError(f"the string at character {at + 1} has the unknown escape {match.group()!r}") from None
