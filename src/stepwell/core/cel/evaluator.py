"""The value of a syntax tree: a walk with a budget, so that no expression runs for long."""

from collections.abc import Mapping
from typing import Any, Final, cast

from stepwell.core.cel.errors import ExpressionError
from stepwell.core.cel.functions import call
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
from stepwell.core.cel.values import (
    MISSING,
    add,
    arithmetic,
    compare,
    contains,
    equal,
    from_json,
    member,
    negative,
    truthy,
)

MAX_STEPS: Final = 100_000
"""Nodes that one evaluation may visit."""


class Evaluation:
    """One walk over a tree with the values of its variables."""

    def __init__(self, variables: Mapping[str, Any], now_ms: int | None = None) -> None:
        self._names = dict(variables)
        self._now_ms = now_ms
        self._left = MAX_STEPS

    def value(self, node: Node) -> Any:
        """The node's value. Raises ExpressionError."""
        self._left -= 1
        if self._left < 0:
            raise ExpressionError(f"the expression takes more than {MAX_STEPS} steps")
        match node:
            case Const():
                return node.value
            case Name():
                return from_json(self._names.get(node.name, MISSING))
            case Select():
                return self._select(node)
            case Binary():
                return self._binary(node)
            case Index():
                return member(self.value(node.of), self.value(node.at))
            case Unary():
                operand = self.value(node.operand)
                return not truthy(operand) if node.operator == "!" else negative(operand)
            case Conditional():
                return self.value(node.then if truthy(self.value(node.test)) else node.other)
            case Call():
                return call(node.function, [self.value(argument) for argument in node.arguments], self._now_ms)
            case Macro():
                return self._macro(node)
            case ListOf() | MapOf():
                return self._made(node)

    def _select(self, node: Select) -> Any:
        found = member(self.value(node.of), node.member)
        return found is not MISSING if node.test else found

    def _binary(self, node: Binary) -> Any:
        operator = node.operator
        if operator in ("&&", "||"):
            return self._logical(node)
        left, right = self.value(node.left), self.value(node.right)
        if operator == "==":
            return equal(left, right)
        if operator == "!=":
            return not equal(left, right)
        if operator == "+":
            return add(left, right)
        if operator == "in":
            return contains(left, right)
        if operator in ("-", "*", "/", "%"):
            return arithmetic(operator, left, right)
        return compare(operator, left, right)

    def _logical(self, node: Binary) -> Any:
        """The operand that decides. One that fails does not matter when the other one decides."""
        decides = node.operator == "||"
        try:
            left = self.value(node.left)
        except ExpressionError:
            right = self.value(node.right)
            if truthy(right) is decides:
                return right
            raise
        return left if truthy(left) is decides else self.value(node.right)

    def _made(self, node: ListOf | MapOf) -> Any:
        if isinstance(node, ListOf):
            return [_present(self.value(item)) for item in node.items]
        return {self._key(key): _present(self.value(item)) for key, item in node.entries}

    def _key(self, node: Node) -> str | int | bool:
        found = self.value(node)
        if isinstance(found, float) and found.is_integer():
            return int(found)
        if not isinstance(found, str | int):
            raise ExpressionError("the keys of a map are strings, integers or booleans")
        return found

    def _macro(self, node: Macro) -> Any:
        over = self.value(node.over)
        if over is MISSING or over is None:
            return [] if node.macro in ("filter", "map") else False
        if not isinstance(over, list | dict):
            raise ExpressionError(f"{node.macro}() goes over lists and maps")
        items = [from_json(item) for item in cast("list[Any]", list(over))]  # pyright: ignore[reportUnknownArgumentType]
        outer = self._names.get(node.variable, MISSING)
        try:
            return self._over(node, items)
        finally:
            self._names[node.variable] = outer

    def _over(self, node: Macro, items: list[Any]) -> Any:
        first, last = node.bodies[0], node.bodies[-1]
        if node.macro == "exists":
            return any(truthy(self._with(node, item, first)) for item in items)
        if node.macro == "all":
            return all(truthy(self._with(node, item, first)) for item in items)
        if node.macro == "exists_one":
            return sum(truthy(self._with(node, item, first)) for item in items) == 1
        if node.macro == "filter" or len(node.bodies) == 2:
            items = [item for item in items if truthy(self._with(node, item, first))]
        return items if node.macro == "filter" else [_present(self._with(node, item, last)) for item in items]

    def _with(self, node: Macro, item: Any, body: Node) -> Any:
        self._names[node.variable] = item
        return self.value(body)


def _present(value: Any) -> Any:
    return None if value is MISSING else value
