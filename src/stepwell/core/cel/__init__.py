"""Expressions: a small, lenient dialect of the Common Expression Language (protocol section 6).

What is missing is never an error, numbers compare whatever their type, ``&&`` and ``||`` return an operand.
"""

from stepwell.core.cel.errors import ExpressionError
from stepwell.core.cel.program import Program, compile  # noqa: A004

__all__ = ["ExpressionError", "Program", "compile"]
