"""Reading JSON that others wrote: every way in which it can be bad is one ``ValueError`` with a sentence."""

from typing import Any, TypeVar, cast

import msgspec

T = TypeVar("T")


def decode(raw: bytes | msgspec.Raw) -> Any:
    """The value of a JSON text. Raises ``ValueError``."""
    return decode_as(raw, object)


def decode_as(raw: bytes | msgspec.Raw, kind: type[T]) -> T:
    """The value of a JSON text as ``kind``. Raises ``ValueError``."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except msgspec.ValidationError as problem:
        raise ValueError(str(problem)) from None
    except msgspec.DecodeError as problem:
        raise ValueError(f"it is not JSON: {str(problem).removeprefix('JSON is malformed: ')}") from None


def as_object(value: object) -> dict[str, Any] | None:
    """``value`` when it is a JSON object, else None."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_array(value: object) -> list[Any] | None:
    """``value`` when it is a JSON array, else None."""
    return cast("list[Any]", value) if isinstance(value, list) else None
