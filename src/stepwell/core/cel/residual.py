"""What is left of an expression once its ``event`` is known (protocol 5.5, 5.8)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

from stepwell.core.cel.errors import ExpressionError
from stepwell.core.cel.evaluator import Evaluation
from stepwell.core.cel.nodes import (
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
from stepwell.core.cel.parser import parse
from stepwell.core.cel.patterns import compile_pattern
from stepwell.core.cel.program import compile as compile_expression
from stepwell.core.cel.unparse import unparse
from stepwell.core.cel.values import MISSING, truthy

EVENT: Final = frozenset({"event"})
_TIME: Final = "now()"
"""Stands among the names of a tree for its functions of the time."""
_TIMELY: Final = frozenset({"now", "now_plus", "now_minus"})
_TESTS: Final = frozenset({"startsWith", "endsWith", "contains", "matches", "bool"})
_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
_FALSE: Final = Const(False)
_ABSENT: Final = Select(Const(None), "missing")
"""A literal of what is missing. Not null: of two missing values ``==`` is false, and of one and null it is true."""
_INFINITY: Final = Const(float("inf"))


class ResidualTooLarge(ExpressionError):
    """With the event's values in it the expression is longer or deeper than expressions may be: keep the event."""


def residual(text: str, event: Mapping[str, Any]) -> str:
    """The condition ``text`` with the values of ``event`` in place of every ``event…``, worked out as far as it goes.

    The result names ``async`` alone, and is true for the same ones as ``text`` with both; it is ``"true"`` or
    ``"false"`` when neither ``async`` nor the time decides any more. What is missing becomes ``null.missing``, which
    keeps it apart from null. The bound on an evaluation's steps counts for each of the two texts on its own.

    Raises ExpressionError for a text that can not be parsed, and ResidualTooLarge (one of these) when the values make
    it too long or too deep to be parsed again: the caller then evaluates ``text`` with the event.
    """
    program = compile_expression(text)
    names = _Names()
    if names.of(program.tree) <= EVENT:
        return _word(program.condition({"event": event}))
    try:
        left = _Reduction(event, names).reduce(program.tree, frozenset(), loose=True)
        shown = unparse(left)
        tree = parse(shown, frozenset({"async"}))
    except (ValueError, RecursionError):  # int and str have bounds of their own, and say so with ValueError
        raise ResidualTooLarge("with the event's values in it the expression is too large: keep the event") from None
    if not _Names().of(tree):
        return _word(compile_expression(shown).condition({}))
    return shown


def _word(found: bool) -> str:
    return "true" if found else "false"


class _Names:
    """The free names of trees, remembered by the identity of nodes, which the trees keep alive."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Node, frozenset[str]]] = {}

    def of(self, node: Node) -> frozenset[str]:
        known = self._known.get(id(node))
        if known is None:
            known = self._known[id(node)] = (node, self._find(node))
        return known[1]

    def _find(self, node: Node) -> frozenset[str]:
        if isinstance(node, Name):
            return frozenset({node.name})
        if isinstance(node, Macro):
            inner = frozenset[str]().union(*(self.of(body) for body in node.bodies))
            return self.of(node.over) | (inner - {node.variable})
        own = frozenset({_TIME}) if isinstance(node, Call) and node.function in _TIMELY else frozenset[str]()
        return own.union(*(self.of(child) for child in _children(node)))


def _children(node: Node) -> tuple[Node, ...]:
    match node:
        case Const() | Name():
            return ()
        case Select():
            return (node.of,)
        case Index():
            return (node.of, node.at)
        case Unary():
            return (node.operand,)
        case Binary():
            return (node.left, node.right)
        case Conditional():
            return (node.test, node.then, node.other)
        case ListOf():
            return node.items
        case MapOf():
            return tuple(part for entry in node.entries for part in entry)
        case Call():
            return node.arguments
        case Macro():
            return (node.over, *node.bodies)


class _Folding(Evaluation):
    """An evaluation whose budget is shared by everything that is folded."""

    @property
    def spent(self) -> bool:
        return self._left < 0


class _Failed:
    """Stands for the value of what can not be computed."""


class _Reduction:
    """One walk that puts values in place. ``bound`` are the names that macros around a node bind.

    In a ``loose`` place only whether the value is true counts, so that everything that is falsy, and an error, are the
    same: the whole, and from there the operands of ``&&`` and ``||`` and the branches of ``?:``.
    """

    def __init__(self, event: Mapping[str, Any], names: _Names) -> None:
        self._event = event
        self._names = names
        self._folding = _Folding({"event": event})
        self._values: dict[int, Any] = {}

    def reduce(self, node: Node, bound: frozenset[str], *, loose: bool = False) -> Node:
        if self._names.of(node) <= EVENT - bound:
            found = self._value(node)
            if isinstance(found, _Failed):
                if loose and not self._folding.spent:
                    return _FALSE
            else:
                known = literal(found)
                if known is not None:
                    return known
        if isinstance(node, Binary) and node.operator in ("&&", "||"):
            return self._logical(node, bound, loose=loose)
        if isinstance(node, Conditional):
            return self._conditional(node, bound, loose=loose)
        return self._rebuilt(node, bound)

    def _value(self, node: Node) -> Any:
        if id(node) not in self._values:
            walk = Evaluation({"event": self._event}) if _is_chain(node) else self._folding
            try:
                self._values[id(node)] = walk.value(node)
            except (ExpressionError, RecursionError):
                self._values[id(node)] = _Failed()
        return self._values[id(node)]

    def _truth(self, node: Node, bound: frozenset[str]) -> bool | None:
        """Whether it counts as true; None where that is open or can not be computed."""
        if not self._names.of(node) <= EVENT - bound:
            return None
        found = self._value(node)
        return None if isinstance(found, _Failed) else truthy(found)

    def _logical(self, node: Binary, bound: frozenset[str], *, loose: bool) -> Node:
        decides = node.operator == "||"
        truth = self._truth(node.left, bound)
        if truth is (not decides):
            return self.reduce(node.right, bound, loose=loose)
        left = self.reduce(node.left, bound, loose=loose)
        truth = _known_truth(left) if truth is None else truth
        if truth is decides:
            return left
        right = self.reduce(node.right, bound, loose=loose)
        return right if truth is (not decides) else _joined(node.operator, left, right, loose=loose)

    def _conditional(self, node: Conditional, bound: frozenset[str], *, loose: bool) -> Node:
        truth = self._truth(node.test, bound)
        test = self.reduce(node.test, bound) if truth is None else _FALSE
        truth = _known_truth(test) if truth is None else truth
        if truth is not None:
            return self.reduce(node.then if truth else node.other, bound, loose=loose)
        return Conditional(
            test, self.reduce(node.then, bound, loose=loose), self.reduce(node.other, bound, loose=loose)
        )

    def _rebuilt(self, node: Node, bound: frozenset[str]) -> Node:
        """The node with each child reduced on its own."""
        match node:
            case Select():
                return replace(node, of=self.reduce(node.of, bound))
            case Index():
                return Index(self.reduce(node.of, bound), self.reduce(node.at, bound))
            case Unary():
                return Unary(node.operator, self.reduce(node.operand, bound))
            case Binary():
                return Binary(node.operator, self.reduce(node.left, bound), self.reduce(node.right, bound))
            case ListOf():
                return ListOf(self._each(node.items, bound))
            case MapOf():
                return MapOf(tuple((self.reduce(key, bound), self.reduce(item, bound)) for key, item in node.entries))
            case Call():
                return _call(node.function, self._each(node.arguments, bound))
            case Macro():
                bodies = self._each(node.bodies, bound | {node.variable})
                return Macro(node.macro, self.reduce(node.over, bound), node.variable, bodies)
            case _:
                return node

    def _each(self, nodes: tuple[Node, ...], bound: frozenset[str]) -> tuple[Node, ...]:
        return tuple(self.reduce(node, bound) for node in nodes)


def _is_chain(node: Node) -> bool:
    """Whether it is ``event`` or a member of it: never folded on the budget, since it has to go."""
    while isinstance(node, Select) or (isinstance(node, Index) and isinstance(node.at, Const)):
        node = node.of
    return isinstance(node, Name)


def _known_truth(node: Node) -> bool | None:
    if isinstance(node, Const):
        return truthy(node.value)
    return False if node == _ABSENT else None


def _joined(operator: str, left: Node, right: Node, *, loose: bool) -> Node:
    """``left operator right`` for a left side that is open, simpler where the right side allows it."""
    truth = _known_truth(right)
    if truth is not None and isinstance(right, Const) and isinstance(right.value, bool) and _is_test(left):
        return right if truth is (operator == "||") else left
    if loose and truth is False:
        return _FALSE if operator == "&&" else left
    return Binary(operator, left, right)


def _is_test(node: Node) -> bool:
    """Whether its value is a boolean whenever it has one."""
    match node:
        case Const():
            return isinstance(node.value, bool)
        case Select():
            return node.test
        case Unary():
            return node.operator == "!"
        case Binary():
            if node.operator in ("&&", "||"):
                return _is_test(node.left) and _is_test(node.right)
            return node.operator in _COMPARISONS
        case Call():
            return node.function in _TESTS
        case Macro():
            return node.macro in ("exists", "all", "exists_one")
        case _:
            return False


def _call(function: str, arguments: tuple[Node, ...]) -> Call:
    """A pattern that is none fails only when it is used, and not, as a literal would, when it is parsed."""
    pattern = arguments[1] if function == "matches" else None
    if isinstance(pattern, Const) and isinstance(pattern.value, str):
        try:
            compile_pattern(pattern.value)
        except ExpressionError:
            return Call(function, (arguments[0], Binary("+", pattern, Const(""))))
    return Call(function, arguments)


def literal(value: Any) -> Node | None:
    """The tree whose value this is, wherever it stands; None for timestamps and durations, which have no literal."""
    if value is MISSING:
        return _ABSENT
    if isinstance(value, float) and value != value:  # noqa: PLR0124
        return Binary("-", _INFINITY, _INFINITY)
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return Const(value)
    if isinstance(value, list):
        return _list_of([literal(item) for item in cast("list[Any]", value)])
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value)
        items = _list_of([literal(item) for item in entries.values()])
        return None if items is None else MapOf(tuple(zip(map(Const, entries), items.items, strict=True)))
    return None


def _list_of(items: list[Node | None]) -> ListOf | None:
    found = tuple(item for item in items if item is not None)
    return ListOf(found) if len(found) == len(items) else None
