"""The memo of an ended step, read to a value or raised as an error (protocol section 2)."""

from typing import Any

import msgspec

from stepwell.errors import StepError
from stepwell.sdk import values
from stepwell.wire.errors import MAX_CAUSES, parse_error

_NULL = b"null"
_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])


def split(memo: bytes) -> tuple[msgspec.Raw | bytes, msgspec.Raw | None]:
    """The data, and the error when the step failed. Only an object with exactly ``data`` or ``error`` is a wrapper."""
    if memo[:1] == b"{":
        members = _DECODER.decode(memo)
        if len(members) == 1:
            if (data := members.get("data")) is not None:
                return data, None
            if (error := members.get("error")) is not None:
                return b"null", error
    return memo, None


def value(memo: bytes, kind: Any = None) -> Any:
    """The step's result. Raises ``StepError`` when it failed."""
    data, error = split(memo)
    if error is not None:
        raise step_error(error)
    return values.decode(data, kind)


def waited_for(memo: bytes) -> bytes | None:
    """What a step waited for, as JSON; None when it did not come in time. Raises ``StepError`` when it could not wait."""
    data, error = split(memo)
    if error is not None:
        raise step_error(error)
    found = bytes(data)
    return None if found == _NULL else found


def step_error(raw: msgspec.Raw, depth: int = 0) -> StepError:
    """The error of a failed step, with what it was raised from."""
    info = parse_error(raw)
    nested = info.cause is not None and depth < MAX_CAUSES and bytes(info.cause).startswith(b"{")
    cause = step_error(info.cause, depth + 1) if info.cause is not None and nested else None
    data: object = None if info.data is None else msgspec.json.decode(info.data)
    return StepError(info.message, info.name, info.stack, cause, data)
