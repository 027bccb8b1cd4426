"""Path and query parameters, read strictly: what is not understood is named in a 400."""

from starlette.requests import Request

from stepwell.server.api.problems import Problem
from stepwell.wire.dates import rfc3339_ms
from stepwell.wire.ids import is_ulid

MAX_TIME_MS = 2**48 - 1
"""The last millisecond that an id can name."""


def ulid_param(request: Request, name: str) -> str:
    """The path parameter ``name``, which must be a ULID; else :class:`Problem` 400."""
    text = str(request.path_params[name])
    if not is_ulid(text):
        raise Problem(400, f"{text[:80]!r} is not an id; ids are ULIDs of 26 characters.", code="bad_id")
    return text


def ulid_query(request: Request, name: str) -> str | None:
    """The query parameter ``name`` when given, which must be a ULID."""
    text = request.query_params.get(name)
    if text and not is_ulid(text):
        raise Problem(400, f"{name}={text[:80]!r} is not an id; ids are ULIDs of 26 characters.", code="bad_id")
    return text or None


def number_query(request: Request, name: str, default: float, low: float, high: float) -> float:
    """The number in the query parameter ``name``, or ``default``; :class:`Problem` 400 when out of range."""
    text = request.query_params.get(name)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        raise Problem(400, f"{name}={text[:80]!r} must be a number from {low:g} to {high:g}.")
    return number


def integer_query(request: Request, name: str, default: int, low: int, high: int) -> int:
    """The same for a whole number."""
    number = number_query(request, name, default, low, high)
    if number != int(number):
        raise Problem(400, f"{name}={number:g} must be a whole number from {low} to {high}.")
    return int(number)


def time_query(request: Request, name: str) -> int | None:
    """The moment in the query parameter ``name`` when given: RFC 3339, or milliseconds since the epoch."""
    text = request.query_params.get(name)
    if not text:
        return None
    if text.isascii() and text.isdecimal() and len(text) <= 15:
        return min(int(text), MAX_TIME_MS)
    found = rfc3339_ms(text)
    if found is None:
        raise Problem(400, f"{name}={text[:80]!r} must be a time such as 2026-11-26T14:00:00Z, or milliseconds.")
    return min(max(found, 0), MAX_TIME_MS)


def flag_query(request: Request, name: str, *, default: bool) -> bool:
    """The query parameter ``name`` as yes or no."""
    text = request.query_params.get(name)
    return default if text is None else text.lower() not in ("0", "false", "no", "off")
