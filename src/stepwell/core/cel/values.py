"""Values of expressions, and what operators mean for them. The dialect is lenient: what is missing never is an error.

Values are JSON's, timestamps (aware ``datetime``), durations (``timedelta``), bytes, and :data:`MISSING`. Numbers that
come out of variables, lists and maps count as doubles; literals without a point are integers.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from math import fmod
from typing import Any, Final, cast

from stepwell.core.cel.errors import ExpressionError

MAX_SIZE: Final = 1024 * 1024
"""Characters of a string, entries of a list, that an operator may make."""

_EXACT: Final = 2**53


class Missing(Enum):
    """The type of what is not there."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


def from_json(value: Any) -> Any:
    """A value read from a variable: its integers are doubles, as far as these hold them exactly."""
    if type(value) is int and -_EXACT <= value <= _EXACT:
        return float(value)
    return value


def is_number(value: Any) -> bool:
    """Whether it is an integer or a double."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def truthy(value: object) -> bool:
    """Whether it counts as true for ``&&``, ``||``, ``!`` and ``?:``."""
    return value is not MISSING and bool(value)


def equal(left: Any, right: Any) -> bool:
    """``==``: numbers by value, everything else within its type; what is missing equals null alone."""
    if left is MISSING or right is MISSING:
        return left is None or right is None
    if is_number(left) and is_number(right):
        return left == right
    kind = type(cast("object", left))
    if kind is not type(cast("object", right)):
        return False
    if kind is list:
        return _equal_lists(left, right)
    return _equal_maps(left, right) if kind is dict else left == right


def _equal_lists(left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(equal(a, b) for a, b in zip(left, right, strict=True))


def _equal_maps(left: dict[Any, Any], right: dict[Any, Any]) -> bool:
    return left.keys() == right.keys() and all(equal(item, right[key]) for key, item in left.items())


def compare(operator: str, left: Any, right: Any) -> bool:
    """``<``, ``<=``, ``>``, ``>=``. What is missing is below everything; null is the other side's zero."""
    if left is MISSING:
        return operator in ("<", "<=")
    if right is MISSING:
        return operator in (">", ">=")
    if left is None and right is None:
        return operator in ("<=", ">=")
    left, right = _fill(left, right), _fill(right, left)
    if not _ordered(left, right):
        raise ExpressionError(f"{_kind(left)} and {_kind(right)} have no order: {operator!r} can not compare them")
    if operator == "<":
        return left < right
    if operator == "<=":
        return left <= right
    return left > right if operator == ">" else left >= right


def _ordered(left: Any, right: Any) -> bool:
    if is_number(left):
        return is_number(right)
    return type(left) is type(right) and isinstance(left, bool | str | bytes | datetime | timedelta)


def _fill(value: Any, other: Any) -> Any:
    """``value``, or for null the zero of the other side's type."""
    if value is not None:
        return value
    if isinstance(other, datetime):
        return datetime(1, 1, 1, tzinfo=UTC)
    return other if other is None else type(other)()


def add(left: Any, right: Any) -> Any:
    """``+``: sums, joined strings and lists; a string takes any plain value as text; null and missing add nothing."""
    if left is MISSING or left is None:
        return right
    if right is MISSING or right is None:
        return left
    if is_number(left) and is_number(right):
        return _calculate("+", left, right)
    if isinstance(left, str) or isinstance(right, str):
        return _sized(text(left) + text(right))
    if isinstance(left, list) and isinstance(right, list):
        return _sized(cast("list[Any]", left) + cast("list[Any]", right))
    return _add_others(left, right)


def _add_others(left: Any, right: Any) -> Any:
    if isinstance(left, bytes) and isinstance(right, bytes):
        return _sized(left + right)
    if isinstance(right, timedelta) and isinstance(left, datetime | timedelta):
        return _moment(left, right, 1)
    if isinstance(left, timedelta) and isinstance(right, datetime):
        return _moment(right, left, 1)
    raise _no_operator("+", left, right)


def arithmetic(operator: str, left: Any, right: Any) -> Any:
    """``- * / %``. With something missing the result is false; null counts as the other side's zero."""
    if left is MISSING or right is MISSING:
        return False
    if operator == "-" and isinstance(left, datetime):
        if isinstance(right, datetime):
            return left - right
        if isinstance(right, timedelta):
            return _moment(left, right, -1)
    if operator == "-" and isinstance(left, timedelta) and isinstance(right, timedelta):
        return _moment(left, right, -1)
    left, right = _fill(left, right), _fill(right, left)
    if not is_number(left) or not is_number(right):
        raise _no_operator(operator, left, right)
    return _calculate(operator, left, right)


def _calculate(operator: str, left: float, right: float) -> float:
    whole = isinstance(left, int) and isinstance(right, int)
    try:
        if operator == "+":
            return _number(left + right)
        if operator == "-":
            return _number(left - right)
        if operator == "*":
            return _number(left * right)
        if whole:
            quotient = abs(int(left)) // abs(int(right))
            quotient = quotient if (left < 0) == (right < 0) else -quotient
            return _number(quotient if operator == "/" else left - right * quotient)
        return left / right if operator == "/" else fmod(left, right)
    except ExpressionError:
        raise
    except (ZeroDivisionError, ValueError):
        raise ExpressionError(f"{operator!r} by zero") from None
    except OverflowError:
        raise ExpressionError(f"{operator!r} leaves the range of numbers") from None


def negative(value: Any) -> Any:
    """``-x``."""
    if value is MISSING:
        return False
    if is_number(value) or isinstance(value, timedelta):
        return -value
    if value is None:
        return 0
    raise ExpressionError(f"{_kind(value)} has no negative")


def contains(item: Any, holder: Any) -> bool:
    """``item in holder``: an entry of a list, a key of a map."""
    if item is MISSING or holder is MISSING or holder is None:
        return False
    if isinstance(holder, list):
        return any(equal(item, other) for other in cast("list[Any]", holder))
    if isinstance(holder, dict):
        return isinstance(item, str | int | float) and item in cast("dict[Any, Any]", holder)
    raise ExpressionError(f"'in' looks into lists and maps, not into {_kind(holder)}")


def member(of: Any, key: Any) -> Any:
    """``of.key`` or ``of[key]``; what is not there is missing."""
    if isinstance(of, Mapping):
        if isinstance(key, float) and key.is_integer():
            key = int(key)
        found = cast("Mapping[Any, Any]", of)
        return from_json(found.get(key, MISSING)) if isinstance(key, str | int) else MISSING
    if isinstance(of, list) and is_number(key):
        items = cast("list[Any]", of)
        place = int(key) if key == key // 1 else -1
        return from_json(items[place]) if 0 <= place < len(items) else MISSING
    return MISSING


def text(value: Any) -> str:
    """A plain value as text: whole doubles without a point, durations in seconds, timestamps as RFC 3339."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 10**21 else repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return text(value.total_seconds()) + "s"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if value is None or value is MISSING:
        return ""
    raise ExpressionError(f"{_kind(value)} can not be written as text")


def _number(value: float) -> float:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ExpressionError("an integer leaves the range of 64 bits")
    return value


def _sized(value: Any) -> Any:
    if len(value) > MAX_SIZE:
        raise ExpressionError(f"a result would have more than {MAX_SIZE} characters or entries")
    return value


def _moment(base: Any, by: timedelta, sign: int) -> Any:
    try:
        return base + sign * by
    except OverflowError:
        raise ExpressionError("a timestamp leaves the years 1 to 9999") from None


def _no_operator(operator: str, left: Any, right: Any) -> ExpressionError:
    return ExpressionError(f"{operator!r} does not take {_kind(left)} and {_kind(right)}")


_KINDS: Final[dict[type, str]] = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "a map",
    bytes: "bytes",
    datetime: "a timestamp",
    timedelta: "a duration",
}


def _kind(value: Any) -> str:
    return _KINDS.get(type(cast("object", value)), "null")
