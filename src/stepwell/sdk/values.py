"""User values to JSON and back. What a live run sees of a step's result is what a replay sees: it went through JSON.

Written: JSON, dataclasses, msgspec and pydantic models, datetimes, UUIDs, decimals, enums, named tuples; sets become
lists and bytes base64 text. Read back as plain JSON, or as the declared type where the callable declares one that is more
than plain JSON (a return annotation, or ``output_type``). Never pickled.
"""

import dataclasses
import enum
import functools
import math
import types
import typing
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import msgspec

from stepwell.errors import NonRetriableError, ValueNotSerializable
from stepwell.wire.constants import MAX_STEP_OUTPUT

_PLAIN: frozenset[object] = frozenset({str, int, float, bool, type(None), None, dict, list, Any, object})
_WAY_OUT = "return JSON data, a dataclass, a pydantic or msgspec model, or a datetime, and keep the rest elsewhere"


def encode(value: object, what: str) -> bytes:
    """JSON of ``value``. ``what`` names it in errors: ``step 'charge' returned``. Raises ``ValueNotSerializable``."""
    try:
        data = _ENCODER.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as problem:
        raise ValueNotSerializable(_complaint(value, what, problem)) from None
    if len(data) > MAX_STEP_OUTPUT:
        raise ValueNotSerializable(
            f"{what} {len(data)} bytes of JSON, more than the limit of {MAX_STEP_OUTPUT}: "
            "store the data elsewhere and return a reference to it"
        )
    if b"null" in data and (path := _find_nan(value)):
        raise ValueNotSerializable(f"{what} a NaN or an infinity at {path}, which JSON has no word for: {_WAY_OUT}")
    return data


def decode(data: bytes | msgspec.Raw, kind: Any = None) -> Any:
    """The value of JSON ``data``, as ``kind`` where one is given. Raises ``NonRetriableError`` when it does not fit."""
    if kind is None:
        return msgspec.json.decode(data)
    try:
        return read(data, kind)
    except ValueError as problem:
        raise NonRetriableError(f"a recorded result does not fit the declared type {kind!r}: {problem}") from problem


def read(data: bytes | msgspec.Raw, kind: Any) -> Any:
    """The value of JSON ``data`` as ``kind``. Raises ``ValueError`` when it does not fit."""
    try:
        return msgspec.json.decode(data, type=kind, dec_hook=_from_json, strict=True)
    except TypeError as problem:
        raise ValueError(str(problem)) from problem


def declared(handler: Callable[..., object]) -> Any:
    """The type that a callable's result shall be read back as; None for plain JSON."""
    while isinstance(handler, functools.partial):
        handler = cast("functools.partial[object]", handler).func
    function = getattr(handler, "__func__", handler)
    if not getattr(function, "__annotations__", None):
        return None
    try:
        known = _KINDS.get(function, _KINDS)
    except TypeError:  # a callable that can not be hashed, or not be referred to weakly
        return _declared(function)
    if known is _KINDS:
        known = _KINDS[function] = _declared(function)
    return known


_KINDS: weakref.WeakKeyDictionary[Callable[..., object], Any] = weakref.WeakKeyDictionary()
"""What was found. Weak, for a function inside of a function holds what that one has: bodies, clients."""


def _declared(function: Callable[..., object]) -> Any:
    try:
        kind = typing.get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):
        return None
    return kind if _is_rich(kind) else None


def concrete(kind: Any) -> Any:
    """``kind`` where it is more than plain JSON, else None."""
    return kind if _is_rich(kind) else None


def _is_rich(kind: Any) -> bool:
    """Whether the annotation says more than plain JSON does, all of it being something that can be built."""
    parts = list(_parts(kind))
    return all(_is_known(part) for part in parts) and any(part not in _PLAIN for part in parts)


def _parts(kind: Any) -> Iterator[Any]:
    origin = typing.get_origin(kind)
    if origin is None:
        yield kind
        return
    if origin not in (typing.Union, types.UnionType, typing.Annotated):
        yield origin
    for argument in typing.get_args(kind):
        if isinstance(argument, type) or typing.get_origin(argument) is not None or argument is Any:
            yield from _parts(argument)


def _is_known(kind: Any) -> bool:
    if kind in _PLAIN or kind in _STANDARD:
        return True
    if not isinstance(kind, type):
        return False
    known = (
        dataclasses.is_dataclass(kind)
        or issubclass(kind, msgspec.Struct | enum.Enum)
        or typing.is_typeddict(cast(Any, kind))
    )
    return known or any(hasattr(cast(Any, kind), name) for name in ("model_validate", "_fields"))


def _standard() -> frozenset[object]:
    import datetime
    import decimal
    import uuid

    kinds = {datetime.datetime, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID}
    return frozenset({*kinds, set, frozenset, tuple, bytes, bytearray})


_STANDARD = _standard()


def _to_json(value: object) -> object:
    if isinstance(value, str):  # a reference to a secret is one of these
        return str(value)
    if isinstance(value, float | int):  # of a class of their own, as numpy's are
        return float.__float__(value) if isinstance(value, float) else int.__int__(value)
    dump = getattr(value, "model_dump", None)
    if dump is not None and not isinstance(value, type):
        return dump(mode="json")
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__}")


def _from_json(kind: type[Any], value: Any) -> Any:
    validate = getattr(kind, "model_validate_json", None)
    if validate is not None:
        return validate(msgspec.json.encode(value))
    raise TypeError(f"{kind!r} can not be read back from JSON")


_ENCODER = msgspec.json.Encoder(enc_hook=_to_json)


def _complaint(value: object, what: str, problem: Exception) -> str:
    if isinstance(problem, RecursionError):
        return f"{what} a value that is nested too deeply or contains itself: {_WAY_OUT}"
    path, culprit = _find_bad(value, "$", 0) or ("$", value)
    kind = type(culprit)
    shown = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if kind.__name__ == "coroutine":
        return f"{what} a coroutine at {path}, which can not be written as JSON: await it"
    if isinstance(culprit, str):
        return f"{what} a text at {path} that is no Unicode, as it holds half of a surrogate pair: {_WAY_OUT}"
    return f"{what} something that can not be written as JSON: {shown} at {path}: {_WAY_OUT}"


def _find_bad(value: object, path: str, depth: int) -> tuple[str, object] | None:
    if depth > 50:
        return path, value
    for key, item in _items(value):
        if found := _find_bad(item, f"{path}{key}", depth + 1):
            return found
    try:
        _ENCODER.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return path, value
    return None


def _find_nan(value: object, path: str = "$") -> str | None:
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    for key, item in _items(value):
        if found := _find_nan(item, f"{path}{key}"):
            return found
    return None


def _items(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            yield f"[{key!r}]", item
    elif isinstance(value, list | tuple | set | frozenset):
        for number, item in enumerate(cast("list[object]", value)):
            yield f"[{number}]", item
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield f".{field.name}", getattr(value, field.name, None)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield f".{name}", getattr(value, name, None)
