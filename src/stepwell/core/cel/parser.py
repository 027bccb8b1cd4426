"""From text to syntax tree: operator precedence climbing (Pratt) over the words."""

from typing import Final

from stepwell.core.cel.errors import ExpressionError
from stepwell.core.cel.functions import FUNCTIONS
from stepwell.core.cel.lexer import Token, tokens
from stepwell.core.cel.nodes import (
    MAX_DEPTH,
    Binary,
    Call,
    Conditional,
    Const,
    Index,
    ListOf,
    Macro,
    MapOf,
    Name,
    Node,
    Select,
    Unary,
)
from stepwell.core.cel.patterns import compile_pattern

MAX_TEXT: Final = 8_192
MACROS: Final = {"exists": 1, "all": 1, "exists_one": 1, "filter": 1, "map": 2}
"""Macros, and how many bodies each takes at most."""

_POWER: Final = (
    {"||": 1, "&&": 2}
    | dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 3)
    | {"+": 4, "-": 4, "*": 5, "/": 5, "%": 5}
)
_WORDS: Final = {"true": True, "false": False, "null": None}


def parse(text: str, variables: frozenset[str]) -> Node:
    """The tree of an expression over these variables. Raises ExpressionError."""
    if len(text) > MAX_TEXT:
        raise ExpressionError(f"an expression may have {MAX_TEXT} characters, and this one has {len(text)}")
    parser = _Parser(tokens(text), variables)
    node = parser.expression()
    parser.expect("end")
    return node


class _Parser:
    def __init__(self, words: list[Token], variables: frozenset[str]) -> None:
        self._words = words
        self._next = 0
        self._bound = list(variables)
        self._nesting = 0

    # -- words

    def peek(self) -> Token:
        return self._words[self._next]

    def take(self) -> Token:
        word = self._words[self._next]
        self._next += 1
        return word

    def sees(self, sign: str) -> bool:
        word = self.peek()
        return word.kind == "sign" and word.value == sign

    def skip(self, sign: str) -> bool:
        if not self.sees(sign):
            return False
        self._next += 1
        return True

    def expect(self, sign: str) -> None:
        word = self.peek()
        if sign == "end":
            if word.kind != "end":
                raise self.unexpected(word)
        elif not self.skip(sign):
            raise self.unexpected(word, f", expected {sign!r}")

    def unexpected(self, word: Token, hint: str = "") -> ExpressionError:
        if word.kind == "end":
            return ExpressionError(f"the expression ends too early{hint}")
        return ExpressionError(f"unexpected {word.value!r} at character {word.at + 1}{hint}")

    # -- expressions

    def expression(self) -> Node:
        self._nesting += 1
        if self._nesting > MAX_DEPTH // 2:
            raise ExpressionError("the expression is nested too deeply")
        node = self._conditional()
        self._nesting -= 1
        return node

    def _conditional(self) -> Node:
        test = self._binary(1)
        if not self.skip("?"):
            return test
        then = self._binary(1)
        self.expect(":")
        other = self.expression()
        return Conditional(test, then, other, _depth(test, then, other))

    def _binary(self, least: int) -> Node:
        left = self._unary()
        while True:
            word = self.peek()
            operator = word.value if word.kind in ("sign", "name") else None
            power = _POWER.get(operator, 0) if isinstance(operator, str) else 0
            if power < least or not isinstance(operator, str):
                return left
            self.take()
            right = self._binary(power + 1)
            left = Binary(operator, left, right, _depth(left, right))

    def _unary(self) -> Node:
        signs: list[str] = []
        while self.sees("!") or self.sees("-"):
            signs.append(str(self.take().value))
        node = self._postfix(self._primary())
        for sign in reversed(signs):
            node = _signed(sign, node)
        return node

    def _postfix(self, node: Node) -> Node:
        while True:
            if self.skip("."):
                node = self._member(node)
            elif self.skip("["):
                at = self.expression()
                self.expect("]")
                node = Index(node, at, _depth(node, at))
            else:
                return node

    def _member(self, of: Node) -> Node:
        word = self.take()
        if word.kind != "name":
            raise self.unexpected(word, ", expected a member's name")
        name = str(word.value)
        if not self.skip("("):
            return Select(of, name, depth=_depth(of))
        if name in MACROS:
            return self._macro(name, of)
        arguments = self._arguments(")")
        return self._call(word, (of, *arguments), method=True)

    def _macro(self, macro: str, over: Node) -> Node:
        word = self.take()
        if word.kind != "name" or word.value in _WORDS:
            raise self.unexpected(word, f", expected a variable's name for {macro}()")
        variable = str(word.value)
        bodies: list[Node] = []
        self._bound.append(variable)
        while self.skip(","):
            bodies.append(self.expression())
        self._bound.pop()
        self.expect(")")
        if not 1 <= len(bodies) <= MACROS[macro]:
            raise ExpressionError(f"{macro}() at character {word.at + 1} takes a variable and an expression over it")
        return Macro(macro, over, variable, tuple(bodies), _depth(over, *bodies))

    def _call(self, word: Token, arguments: tuple[Node, ...], *, method: bool) -> Node:
        name = str(word.value)
        known = FUNCTIONS.get(name)
        if known is None or not (known.method if method else known.plain):
            raise ExpressionError(
                f"there is no {'method' if method else 'function'} {name}() (character {word.at + 1})"
            )
        if len(arguments) not in known.counts:
            counts = " or ".join(str(count - method) for count in known.counts)
            raise ExpressionError(f"{name}() at character {word.at + 1} takes {counts} argument(s)")
        if name == "matches" and isinstance(arguments[1], Const) and isinstance(arguments[1].value, str):
            compile_pattern(arguments[1].value)
        return Call(name, arguments, _depth(*arguments))

    def _arguments(self, closing: str) -> list[Node]:
        found: list[Node] = []
        while not self.skip(closing):
            found.append(self.expression())
            if not self.skip(","):
                self.expect(closing)
                break
        return found

    def _primary(self) -> Node:
        word = self.take()
        if word.kind in ("int", "float", "string", "bytes"):
            return Const(word.value)
        if word.kind == "name":
            return self._named(word)
        if word.value == "(" and word.kind == "sign":
            node = self.expression()
            self.expect(")")
            return node
        if word.value == "[" and word.kind == "sign":
            items = tuple(self._arguments("]"))
            return ListOf(items, _depth(*items))
        if word.value == "{" and word.kind == "sign":
            return self._map()
        raise self.unexpected(word)

    def _named(self, word: Token) -> Node:
        name = str(word.value)
        if self.skip("("):
            arguments = self._arguments(")")
            return _has(word, arguments) if name == "has" else self._call(word, tuple(arguments), method=False)
        if name in _WORDS:
            return Const(_WORDS[name])
        if name not in self._bound:
            known = ", ".join(sorted(set(self._bound))) or "none"
            raise ExpressionError(f"unknown variable {name!r} at character {word.at + 1}: there is {known}")
        return Name(name)

    def _map(self) -> Node:
        entries: list[tuple[Node, Node]] = []
        while not self.skip("}"):
            key = self.expression()
            self.expect(":")
            entries.append((key, self.expression()))
            if not self.skip(","):
                self.expect("}")
                break
        return MapOf(tuple(entries), _depth(*(node for entry in entries for node in entry)))


def _has(word: Token, arguments: list[Node]) -> Node:
    if len(arguments) != 1 or not isinstance(arguments[0], Select):
        raise ExpressionError(f"has() at character {word.at + 1} takes one member, such as has(event.data.id)")
    of = arguments[0].of
    return Select(of, arguments[0].member, test=True, depth=_depth(of))


def _signed(sign: str, node: Node) -> Node:
    """A sign before a node; before a number it is part of the literal."""
    if sign == "-" and isinstance(node, Const) and isinstance(node.value, int | float) and type(node.value) is not bool:
        return Const(-node.value)
    return Unary(sign, node, _depth(node))


def _depth(*children: Node) -> int:
    depth = 1 + max((child.depth for child in children), default=0)
    if depth > MAX_DEPTH:
        raise ExpressionError("the expression is nested too deeply: use `in` with a list for long alternatives")
    return depth
