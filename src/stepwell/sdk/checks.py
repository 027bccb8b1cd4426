"""What users give is held to the types that are declared for it, so that a slip is told where it was made."""

import types
import typing
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any, Literal, cast

import msgspec

from stepwell.errors import ConfigError
from stepwell.sdk import values

_ARTICLES = {"A": "an", "E": "an", "I": "an", "O": "an"}


def instance(fn_id: str, option: str, given: object, kind: type[msgspec.Struct]) -> None:
    """``given`` is None or a ``kind``, whose members have the declared types. Raises ``ConfigError``."""
    if given is None:
        return
    name = kind.__name__
    if not isinstance(given, kind):
        raise ConfigError(
            f"function {fn_id!r}: {option} takes {_ARTICLES.get(name[0], 'a')} {name}(...), not {given!r:.60}"
        )
    for member, hint in _hints(kind).items():
        value = getattr(given, member)
        if not _fits(value, hint):
            raise ConfigError(f"function {fn_id!r}: {option} has {member}={value!r:.60}, and needs {_words(hint)}")


def instances(fn_id: str, option: str, given: object, kind: type[msgspec.Struct]) -> None:
    """``given`` is a list of ``kind``. Raises ``ConfigError``."""
    if not isinstance(given, list | tuple):
        raise ConfigError(f"function {fn_id!r}: {option} takes a list, [{kind.__name__}(...)], not {given!r:.60}")
    for each in cast("Sequence[object]", given):
        if each is None:
            raise ConfigError(f"function {fn_id!r}: {option} has None in its list")
        instance(fn_id, option, each, kind)


def text(what: str, given: object) -> str:
    """``given`` is a text that is not empty. Raises ``ConfigError``, which begins with ``what``."""
    if not isinstance(given, str) or not given.strip():
        raise ConfigError(f"{what}, and {given!r:.60} is none")
    return given


def schema(where: str, given: object) -> None:
    """``given`` is None or a type that the data of an event can be read as. Raises ``ConfigError``."""
    if given is None or given is Any:
        return
    if _is_type(given) and ((typing.get_origin(given) or given) is dict or values.concrete(given) is not None):
        return
    raise ConfigError(
        f"{where} has schema={given!r:.60}, which is no type for an event's data: a pydantic model, msgspec struct, "
        "dataclass or TypedDict is one"
    )


def output_type(where: str, given: object) -> None:
    """``given`` is None or a type. Raises ``ConfigError``."""
    if given is None or given is Any or _is_type(given):
        return
    raise ConfigError(f"{where} has output_type={given!r:.60}, which is no type: write the class itself, such as Order")


def middleware(where: str, given: object) -> tuple[Any, ...]:
    """``given`` is a list of classes, or of functions that make instances. Raises ``ConfigError``."""
    if not isinstance(given, list | tuple):
        raise ConfigError(f"the middleware of {where} is a list, such as middleware=[Mine], and {given!r:.60} is none")
    for each in (listed := cast("Sequence[object]", given)):
        if not callable(each):
            raise ConfigError(
                f"the middleware of {where} lists classes, or functions that make instances, and {each!r:.60} is neither"
            )
    return tuple(listed)


def _is_type(given: object) -> bool:
    return isinstance(given, type | types.UnionType) or typing.get_origin(given) is not None


@cache
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Durations are left out: who reads them says what is wrong with them."""
    hints = typing.get_type_hints(kind)
    return {name: hint for name, hint in hints.items() if timedelta not in _options(hint)}


def _options(hint: Any) -> tuple[Any, ...]:
    return (
        typing.get_args(hint)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        else (hint,)
    )


def _fits(value: object, hint: Any) -> bool:
    for option in _options(hint):
        if typing.get_origin(option) is Literal:
            if value in typing.get_args(option):
                return True
        elif not isinstance(option, type) or typing.get_origin(option) is not None:
            return True  # a generic one: not for here
        elif isinstance(value, option) and not (isinstance(value, bool) and option is int):
            return True
    return False


def _words(hint: Any) -> str:
    names = {str: "a text", int: "a whole number", type(None): "None"}
    found: list[str] = []
    for option in _options(hint):
        if typing.get_origin(option) is Literal:
            found += [repr(each) for each in typing.get_args(option)]
        else:
            found.append(names.get(option) or option.__name__)
    return " or ".join(found)
