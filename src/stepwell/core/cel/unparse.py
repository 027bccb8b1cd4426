"""From syntax tree back to text, with no more parentheses than the tree needs."""

from typing import Final

from stepwell.core.cel.functions import FUNCTIONS
from stepwell.core.cel.nodes import (
    Binary,
    Call,
    Conditional,
    Const,
    Index,
    ListOf,
    Literal,
    Macro,
    MapOf,
    Name,
    Node,
    Select,
    Unary,
)

_BINARY_POWER: Final = (
    {"||": 1, "&&": 2}
    | dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 3)
    | {"+": 4, "-": 4, "*": 5, "/": 5, "%": 5}
)
"""The parser's powers: the tests of the round trip hold them together."""
_UNARY_POWER: Final = 6

_ANY: Final = 0
_OPERAND: Final = 1
"""Everything but ``?:`` without parentheses."""
_PRIMARY: Final = _UNARY_POWER + 1
"""What may stand before a dot or a bracket."""

_ESCAPES: Final = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_INFINITE: Final = {"inf": "1e999", "-inf": "-1e999"}


def unparse(node: Node) -> str:
    """Text that parses to the same tree as the one that the parser made ``node`` from.

    Spaces and escapes may make it longer than the text that was parsed, so that it may be beyond the parser's bound.
    Raises RecursionError for a tree deeper than the parser makes.
    """
    return _shown(node, _ANY)


def _shown(node: Node, least: int) -> str:
    """The node's text, in parentheses where it binds less than the place asks for."""
    text = _text(node)
    return text if _power(node, text) >= least else f"({text})"


def _power(node: Node, text: str) -> int:
    match node:
        case Conditional():
            return _ANY
        case Binary():
            return _BINARY_POWER[node.operator]
        case Unary():
            return _UNARY_POWER
        case Const():
            return _UNARY_POWER if text.startswith("-") else _PRIMARY
        case _:
            return _PRIMARY


def _text(node: Node) -> str:
    match node:
        case Const():
            return _literal(node.value)
        case Name():
            return node.name
        case Select():
            chain = f"{_shown(node.of, _PRIMARY)}.{node.member}"
            return f"has({chain})" if node.test else chain
        case Index():
            return f"{_shown(node.of, _PRIMARY)}[{_shown(node.at, _ANY)}]"
        case Unary():
            return node.operator + _shown(node.operand, _UNARY_POWER)
        case Binary():
            power = _BINARY_POWER[node.operator]
            return f"{_shown(node.left, power)} {node.operator} {_shown(node.right, power + 1)}"
        case Conditional():
            test, then = _shown(node.test, _OPERAND), _shown(node.then, _OPERAND)
            return f"{test} ? {then} : {_shown(node.other, _ANY)}"
        case ListOf():
            return f"[{_listed(node.items)}]"
        case MapOf():
            return "{" + ", ".join(f"{_shown(key, _ANY)}: {_shown(item, _ANY)}" for key, item in node.entries) + "}"
        case Call():
            return _call(node)
        case Macro():
            return f"{_shown(node.over, _PRIMARY)}.{node.macro}({node.variable}, {_listed(node.bodies)})"


def _call(node: Call) -> str:
    """As a method where there is one: the parser counts nested arguments, and not a chain of methods."""
    if not FUNCTIONS[node.function].method:
        return f"{node.function}({_listed(node.arguments)})"
    return f"{_shown(node.arguments[0], _PRIMARY)}.{node.function}({_listed(node.arguments[1:])})"


def _listed(nodes: tuple[Node, ...]) -> str:
    return ", ".join(_shown(node, _ANY) for node in nodes)


def _literal(value: Literal) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value.translate(_ESCAPES)}'"
    if isinstance(value, bytes):
        return f"b'{value.decode().translate(_ESCAPES)}'"
    return _INFINITE.get(repr(value), repr(value))
