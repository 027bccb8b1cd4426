"""The error object that travels on the wire (protocol section 0)."""

from typing import Any

import msgspec

from stepwell.wire.jsons import as_object, decode

MAX_CAUSES = 10
"""How many causes of causes an error tells of."""


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``{"name", "message", "stack"?, "cause"?}``; members that we do not know are kept in ``data``."""

    name: str = msgspec.field(default_factory=lambda: "Error")  # not a plain default: it is always written
    message: str = msgspec.field(default_factory=str)
    stack: str | None = None
    cause: msgspec.Raw | None = None
    data: msgspec.Raw | None = None
    code: str | None = None
    kind: str | None = None
    attempts: int | None = None
    sent: bool | None = None


def parse_error(raw: bytes | msgspec.Raw | None) -> ErrorInfo:
    """Read an error object leniently: a string, an object with any members, or nothing at all."""
    if not raw:
        return ErrorInfo(message="Function execution error")
    try:
        value: Any = decode(raw)
    except ValueError:
        return ErrorInfo(message=bytes(raw)[:2000].decode("utf-8", "replace"))
    if isinstance(value, str):
        return ErrorInfo(message=value)
    members = as_object(value)
    return ErrorInfo(message="Function execution error") if members is None else _from_object(members)


def _from_object(value: dict[str, Any]) -> ErrorInfo:
    def text(key: str) -> str | None:
        found = value.get(key)
        return found if isinstance(found, str) else None

    def raw(key: str) -> msgspec.Raw | None:
        found = value.get(key)
        return None if found is None else msgspec.Raw(msgspec.json.encode(found))

    attempts = value.get("attempts")
    return ErrorInfo(
        name=text("name") or "Error",
        message=text("message") or text("error") or "Function execution error",
        stack=text("stack"),
        cause=raw("cause"),
        data=raw("data"),
        code=text("code"),
        kind=text("kind"),
        attempts=attempts if isinstance(attempts, int) else None,
        sent=False if value.get("sent") is False else None,
    )
