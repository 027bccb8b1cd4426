"""The functions of expressions. With a missing argument ``size`` is 0 and every other function is false."""

import base64
import binascii
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from stepwell.core.cel.errors import ExpressionError
from stepwell.core.cel.patterns import search
from stepwell.core.cel.values import MAX_SIZE, MISSING, from_json, is_number, text
from stepwell.wire.durations import parse_duration
from stepwell.wire.jsons import decode

_SECONDS_BELOW: Final = 10**11
"""Epoch numbers from here on are milliseconds."""


class Function(NamedTuple):
    """``run`` gets the arguments (the receiver first) and the time now in ms; ``counts``: how many there may be."""

    run: Callable[[list[Any], int | None], Any]
    counts: tuple[int, ...]
    plain: bool = True
    method: bool = False


def call(name: str, arguments: list[Any], now_ms: int | None) -> Any:
    """The function's value. Raises ExpressionError."""
    if any(argument is MISSING for argument in arguments):
        return 0 if name == "size" else False
    try:
        return FUNCTIONS[name].run(arguments, now_ms)
    except ExpressionError:
        raise
    except (ValueError, OverflowError) as problem:
        raise ExpressionError(f"{name}(): {problem}") from None


def _size(arguments: list[Any], _: int | None) -> int:
    value = arguments[0]
    if value is None:
        return 0
    if isinstance(value, str | bytes | list | dict):
        return len(value)  # pyright: ignore[reportUnknownArgumentType]
    raise ExpressionError("size() takes a string, bytes, a list or a map")


def _string_test(test: Callable[[str, str], bool]) -> Callable[[list[Any], int | None], bool]:
    """A test of one string with another; anything that is no string fails it."""
    return lambda arguments, _: (
        isinstance(arguments[0], str) and isinstance(arguments[1], str) and test(arguments[0], arguments[1])
    )


def _text_to(change: Callable[[str], Any], name: str) -> Callable[[list[Any], int | None], Any]:
    def run(arguments: list[Any], _: int | None) -> Any:
        if not isinstance(arguments[0], str):
            raise ExpressionError(f"{name}() takes a string")
        if len(arguments[0]) > MAX_SIZE:
            raise ExpressionError(f"{name}() takes at most {MAX_SIZE} characters")
        return change(arguments[0])

    return run


def _string(arguments: list[Any], _: int | None) -> str:
    return text(arguments[0])


def _b64decode(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ExpressionError("b64decode() takes base64 of UTF-8 text") from None


def _int(arguments: list[Any], _: int | None) -> int:
    value = arguments[0]
    if isinstance(value, datetime):
        return int(value.timestamp())
    if value is None:
        return 0
    if isinstance(value, str) and (len(value) > 30 or "_" in value):
        raise ExpressionError("int() takes the text of an integer")
    if not isinstance(value, str | int | float):
        raise ExpressionError("int() takes a number, a string or a timestamp")
    return int(value)


def _double(arguments: list[Any], _: int | None) -> float:
    value = arguments[0]
    if value is None:
        return 0.0
    if not isinstance(value, str) and not is_number(value):
        raise ExpressionError("double() takes a number or a string")
    return float(value)


def _bool(arguments: list[Any], _: int | None) -> bool:
    value = arguments[0]
    if isinstance(value, bool):
        return value
    known = {"true": True, "True": True, "TRUE": True, "t": True, "1": True}
    known |= {"false": False, "False": False, "FALSE": False, "f": False, "0": False}
    if not isinstance(value, str) or value not in known:
        raise ExpressionError("bool() takes a boolean, or 'true' or 'false'")
    return known[value]


def _timestamp(arguments: list[Any], _: int | None) -> datetime:
    value = arguments[0]
    if isinstance(value, datetime):
        return value
    if is_number(value):
        seconds = value / 1000 if abs(value) >= _SECONDS_BELOW else value
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    if not isinstance(value, str):
        raise ExpressionError("a timestamp is made of an RFC 3339 string or of a number since 1970")
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _duration(arguments: list[Any], _: int | None) -> timedelta:
    value = arguments[0]
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ExpressionError("a duration is made of a string such as '1h30m'")
    span = timedelta(milliseconds=parse_duration(value.removeprefix("-")))
    return -span if value.startswith("-") else span


def _now(arguments: list[Any], now_ms: int | None) -> datetime:
    if now_ms is None:
        raise ExpressionError("the time is not known here: now(), now_plus() and now_minus() can not be used")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=now_ms)


def _now_plus(arguments: list[Any], now_ms: int | None) -> datetime:
    return _now([], now_ms) + _duration(arguments, None)


def _now_minus(arguments: list[Any], now_ms: int | None) -> datetime:
    return _now([], now_ms) - _duration(arguments, None)


FUNCTIONS: Final[dict[str, Function]] = {
    "size": Function(_size, (1,), method=True),
    "startsWith": Function(_string_test(str.startswith), (2,), plain=False, method=True),
    "endsWith": Function(_string_test(str.endswith), (2,), plain=False, method=True),
    "contains": Function(_string_test(lambda a, b: b in a), (2,), plain=False, method=True),
    "matches": Function(_string_test(lambda a, b: search(b, a)), (2,), method=True),
    "string": Function(_string, (1,)),
    "int": Function(_int, (1,)),
    "double": Function(_double, (1,)),
    "bool": Function(_bool, (1,)),
    "timestamp": Function(_timestamp, (1,)),
    "date": Function(_timestamp, (1,)),
    "duration": Function(_duration, (1,)),
    "lowercase": Function(_text_to(str.lower, "lowercase"), (1,), method=True),
    "uppercase": Function(_text_to(str.upper, "uppercase"), (1,), method=True),
    "b64decode": Function(_text_to(_b64decode, "b64decode"), (1,), method=True),
    "json_parse": Function(_text_to(lambda a: from_json(decode(a.encode())), "json_parse"), (1,), method=True),
    "now": Function(_now, (0,)),
    "now_plus": Function(_now_plus, (1,)),
    "now_minus": Function(_now_minus, (1,)),
}
