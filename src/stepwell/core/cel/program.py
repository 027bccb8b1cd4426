"""Compiled expressions."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from stepwell.core.cel.errors import ExpressionError
from stepwell.core.cel.evaluator import Evaluation
from stepwell.core.cel.nodes import Node
from stepwell.core.cel.parser import parse
from stepwell.core.cel.values import MISSING

VARIABLES: Final = frozenset({"event", "async"})
"""What expressions may name: the event that started a run, and the one that is waited for."""


@dataclass(slots=True, frozen=True)
class Program:
    """An expression that has been read. ``tree`` is its syntax tree."""

    text: str
    tree: Node

    def evaluate(self, variables: Mapping[str, Any], *, now_ms: int | None = None) -> Any:
        """Its value for these variables, which are JSON values; None where the result is missing.

        Raises ExpressionError. Numbers from variables come back as doubles. Without ``now_ms`` the functions of
        the time are errors.
        """
        try:
            found = Evaluation(variables, now_ms).value(self.tree)
        except RecursionError:
            raise ExpressionError("the values are nested too deeply") from None
        return None if found is MISSING else found

    def condition(self, variables: Mapping[str, Any], *, now_ms: int | None = None) -> bool:
        """Whether it is true. A value that is no boolean is not true, nor is one that can not be computed."""
        try:
            return self.evaluate(variables, now_ms=now_ms) is True
        except ExpressionError:
            return False


@lru_cache(maxsize=2048)
def compile(text: str, variables: frozenset[str] = VARIABLES) -> Program:  # noqa: A001
    """The program of an expression; remembered. Raises ExpressionError with what is wrong and where."""
    try:
        return Program(text, parse(text, variables))
    except RecursionError:
        raise ExpressionError("the expression is nested too deeply") from None
