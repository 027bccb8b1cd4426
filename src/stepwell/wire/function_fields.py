"""Reading a registration: members by name in any case, each problem with its place (protocol 0 and 1.3)."""

from collections.abc import Mapping
from typing import Any

from stepwell.wire.durations import parse_duration
from stepwell.wire.jsons import as_array, as_object

MAX_KEY = 4_096
"""Characters of an expression."""


class BadRegistration(ValueError):
    """The registration can not be taken. The message says where in it and why."""


class Fields:
    """The members of one JSON object. ``where`` names it in messages."""

    def __init__(self, value: object, where: str) -> None:
        members = as_object(value)
        if members is None:
            raise BadRegistration(f"{where} has to be a JSON object")
        self.where = where
        self._members: Mapping[str, Any] = {key.lower(): item for key, item in members.items()}

    def bad(self, problem: str) -> BadRegistration:
        """An error about this object."""
        return BadRegistration(f"{self.where}: {problem}")

    def get(self, key: str) -> Any:
        """The member, or None."""
        return self._members.get(key.lower())

    def text(self, key: str) -> str | None:
        """A string; absent, null and ``""`` are None."""
        found = self.get(key)
        if found is not None and not isinstance(found, str):
            raise self.bad(f"{key} has to be a string")
        return found or None

    def need_text(self, key: str) -> str:
        """A string that has to be there."""
        found = self.text(key)
        if found is None:
            raise self.bad(f"{key} is missing")
        return found

    def expression(self, key: str) -> str | None:
        """An expression as it was written."""
        found = self.text(key)
        if found is not None and len(found) > MAX_KEY:
            raise self.bad(f"{key} has {len(found)} characters, more than {MAX_KEY}")
        return found

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """An integer from ``low`` to ``high``; it has to be there unless there is a default."""
        found = self.get(key)
        if found is None:
            if default is None:
                raise self.bad(f"{key} is missing")
            return default
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
            raise self.bad(f"{key} has to be an integer from {low} to {high}")
        return found

    def duration(self, key: str, low_ms: int, high_ms: int) -> int | None:
        """Milliseconds of a duration within these bounds, or None."""
        text = self.text(key)
        if text is None:
            return None
        try:
            found = parse_duration(text)
        except ValueError as problem:
            raise self.bad(f"{key}: {problem}") from None
        if not low_ms <= found <= high_ms:
            raise self.bad(f"{key} is {text!r}, and has to lie between {_shown(low_ms)} and {_shown(high_ms)}")
        return found

    def need_duration(self, key: str, low_ms: int, high_ms: int) -> int:
        """The same for a duration that has to be there."""
        found = self.duration(key, low_ms, high_ms)
        if found is None:
            raise self.bad(f"{key} is missing")
        return found

    def fields(self, key: str) -> "Fields | None":
        """A member that is an object, or None."""
        found = self.get(key)
        return None if found is None else Fields(found, f"{self.where}: {key}")

    def array(self, key: str, most: int | None = None) -> list[Any]:
        """A member that is an array; absent and null are empty."""
        found = self.get(key)
        items = [] if found is None else as_array(found)
        if items is None:
            raise self.bad(f"{key} has to be an array")
        if most is not None and len(items) > most:
            raise self.bad(f"{key} has {len(items)} entries, more than {most}")
        return items


def _shown(ms: int) -> str:
    return f"{ms / 1000:g} s"
