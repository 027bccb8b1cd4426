"""Regular expressions of the RE2 kind, as trees: no look-around, no back-references, so that matching is linear."""

from dataclasses import dataclass, field, replace
from typing import Final

from stepwell.core.cel.errors import ExpressionError

MAX_REPEAT: Final = 1_000
MAX_GROUPS: Final = 40

Range = tuple[str, str]

_LAST: Final = chr(0x10FFFF)
_DIGIT: Final[tuple[Range, ...]] = (("0", "9"),)
_WORD: Final[tuple[Range, ...]] = (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z"))
_SPACE: Final[tuple[Range, ...]] = (("\t", "\n"), ("\f", "\r"), (" ", " "))
_CLASSES: Final = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_POSIX: Final[dict[str, tuple[Range, ...]]] = {
    "alpha": (("A", "Z"), ("a", "z")),
    "alnum": (("0", "9"), ("A", "Z"), ("a", "z")),
    "digit": _DIGIT,
    "lower": (("a", "z"),),
    "upper": (("A", "Z"),),
    "punct": (("!", "/"), (":", "@"), ("[", "`"), ("{", "~")),
    "space": (("\t", "\r"), (" ", " ")),
    "word": _WORD,
    "xdigit": (("0", "9"), ("A", "F"), ("a", "f")),
}
_CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
_EDGES: Final = {"b": "word", "B": "no word", "A": "start", "z": "end"}


@dataclass(slots=True, frozen=True)
class Chars:
    """One character out of these ranges, or out of none of them; ``fold``: whatever its case."""

    ranges: tuple[Range, ...]
    negated: bool = False
    fold: bool = False

    def has(self, char: str) -> bool:
        """Whether the character is one of them."""
        found = self._within(char)
        if self.fold and not found:
            found = self._within(char.lower()) or self._within(char.upper())
        return found is not self.negated

    def _within(self, char: str) -> bool:
        return any(low <= char <= high for low, high in self.ranges)


@dataclass(slots=True, frozen=True)
class Edge:
    """A place rather than a character: start, end, line start, line end, word, no word."""

    kind: str


@dataclass(slots=True, frozen=True)
class Sequence:
    """One after the other."""

    parts: tuple["Piece", ...]


@dataclass(slots=True, frozen=True)
class Choice:
    """One of them."""

    options: tuple["Piece", ...]


@dataclass(slots=True, frozen=True)
class Repeat:
    """``least`` to ``most`` times; None is without end."""

    piece: "Piece"
    least: int
    most: int | None


Piece = Chars | Edge | Sequence | Choice | Repeat


@dataclass(slots=True, frozen=True)
class _Flags:
    fold: bool = False
    lines: bool = False
    dotall: bool = False


def parse_pattern(pattern: str) -> Piece:
    """The tree of a pattern. Raises ExpressionError."""
    parser = _Parser(pattern)
    piece = parser.choice()
    if parser.at < len(pattern):
        raise parser.bad("an unexpected ')'")
    return piece


@dataclass(slots=True)
class _Parser:
    text: str
    at: int = 0
    groups: int = 0
    flags: _Flags = field(default_factory=_Flags)

    def bad(self, problem: str) -> ExpressionError:
        return ExpressionError(f"the pattern {self.text[:80]!r} has {problem} at character {self.at + 1}")

    def sees(self, word: str) -> bool:
        return self.text.startswith(word, self.at)

    def skip(self, word: str) -> bool:
        if not self.sees(word):
            return False
        self.at += len(word)
        return True

    def take(self) -> str:
        if self.at >= len(self.text):
            raise self.bad("too early an end")
        self.at += 1
        return self.text[self.at - 1]

    def choice(self) -> Piece:
        options = [self.sequence()]
        while self.skip("|"):
            options.append(self.sequence())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def sequence(self) -> Piece:
        parts: list[Piece] = []
        while self.at < len(self.text) and not self.sees("|") and not self.sees(")"):
            parts.append(self.repeated(self.atom()))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def repeated(self, piece: Piece) -> Piece:
        bounds = self.bounds()
        if bounds is None:
            return piece
        self.skip("?")
        if self.sees("*") or self.sees("+") or self.sees("?") or self.bounds() is not None:
            raise self.bad("a repetition of a repetition")
        return Repeat(piece, *bounds)

    def bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self.skip(sign):
                return bounds
        end = self.text.find("}", self.at) if self.sees("{") else -1
        least, comma, most = self.text[self.at + 1 : end].partition(",") if end > 0 else ("", "", "")
        if not _is_count(least) or (most and not _is_count(most)):
            return None
        low, high = int(least), int(most) if most else (None if comma else int(least))
        if max(low, high or 0) > MAX_REPEAT or (high is not None and high < low):
            raise self.bad(f"a bad repetition (at most {MAX_REPEAT} times)")
        self.at = end + 1
        return low, high

    def atom(self) -> Piece:
        char = self.take()
        if char == "(":
            return self.group()
        if char == "[":
            return self.char_class()
        if char == ".":
            return Chars(() if self.flags.dotall else (("\n", "\n"),), negated=True)
        if char == "^":
            return Edge("line start" if self.flags.lines else "start")
        if char == "$":
            return Edge("line end" if self.flags.lines else "end")
        if char == "\\":
            return self.escape()
        if char in "*+?":
            raise self.bad(f"a {char!r} with nothing before it")
        return Chars(((char, char),), fold=self.flags.fold)

    def group(self) -> Piece:
        self.groups += 1
        if self.groups > MAX_GROUPS:
            raise self.bad(f"more than {MAX_GROUPS} groups")
        outer = self.flags
        if self.skip("?") and not self.skip(":"):
            if self.sees("P<") or (self.sees("<") and not self.sees("<=") and not self.sees("<!")):
                self.at = self.text.find(">", self.at) + 1 or len(self.text)
            elif self.set_flags():
                return Sequence(())
        piece = self.choice()
        if not self.skip(")"):
            raise self.bad("a '(' that is not closed")
        self.flags = outer
        return piece

    def set_flags(self) -> bool:
        """Flags such as ``(?i)`` for the rest of the group, or ``(?i:…)``. Whether the group has no more than flags."""
        value = True
        while True:
            char = self.take()
            if char in (")", ":"):
                return char == ")"
            if char == "-":
                value = False
            elif char == "i":
                self.flags = replace(self.flags, fold=value)
            elif char == "m":
                self.flags = replace(self.flags, lines=value)
            elif char == "s":
                self.flags = replace(self.flags, dotall=value)
            elif char != "U":
                raise self.bad("a kind of group that is not supported")

    def escape(self) -> Piece:
        char = self.take()
        if char in _EDGES:
            return Edge(_EDGES[char])
        if char.lower() in _CLASSES:
            return Chars(_CLASSES[char.lower()], negated=char.isupper())
        literal = self.literal(char)
        return Chars(((literal, literal),), fold=self.flags.fold)

    def literal(self, char: str) -> str:
        """The character that an escape stands for."""
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char == "x":
            end = self.text.find("}", self.at) if self.sees("{") else self.at + 2
            digits = self.text[self.at : end].removeprefix("{")
            self.at = end + 1 if self.sees("{") else end
            try:
                return chr(int(digits, 16))
            except (ValueError, OverflowError):
                raise self.bad("a bad hexadecimal escape") from None
        if char.isascii() and char.isalnum():
            raise self.bad(f"the escape '\\{char}', which is not supported,")
        return char

    def char_class(self) -> Piece:
        negated = self.skip("^")
        ranges: list[Range] = []
        first = True
        while first or not self.sees("]"):
            first = False
            ranges.extend(self.class_part())
        self.at += 1
        return Chars(tuple(ranges), negated, self.flags.fold)

    def class_part(self) -> tuple[Range, ...]:
        if self.skip("[:"):
            name, _, _ = self.text[self.at :].partition(":]")
            if name not in _POSIX:
                raise self.bad("an unknown class")
            self.at += len(name) + 2
            return _POSIX[name]
        low = self.take()
        if low == "\\":
            char = self.take()
            if char.lower() in _CLASSES:
                known = _CLASSES[char.lower()]
                return _others(known) if char.isupper() else known
            low = self.literal(char)
        if not self.sees("-") or self.sees("-]"):
            return ((low, low),)
        self.at += 1
        high = self.take()
        if high == "\\":
            high = self.literal(self.take())
        if high < low:
            raise self.bad("a range that runs backwards")
        return ((low, high),)


def _others(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """Every character outside of these ascending ranges."""
    found: list[Range] = []
    low = 0
    for first, last in ranges:
        found.append((chr(low), chr(ord(first) - 1)))
        low = ord(last) + 1
    return (*found, (chr(low), _LAST))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6
