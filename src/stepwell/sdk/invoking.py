"""Calling another function as a step (protocol 3.4, 5.6)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from stepwell.sdk import values
from stepwell.wire.durations import format_duration, to_ms
from stepwell.wire.ops import Opcode

if TYPE_CHECKING:
    from stepwell.sdk.machine import Machine, StepCall

Data = Mapping[str, Any] | object
"""An object of JSON, or a model."""
Timeout = int | timedelta | str


def invoke_call(
    machine: Machine, step_id: str, function_id: str, data: Data | None, timeout: Timeout | None, kind: Any = None
) -> StepCall:
    """The call of a step that invokes ``function_id`` (``app-function``). ``timeout``: text, timedelta or milliseconds."""
    call = machine.make(step_id, Opcode.INVOKE)
    payload = values.encode({} if data is None else data, f"the data for step {step_id!r} has")
    if not payload.startswith(b"{"):
        raise TypeError(f"the data for step {step_id!r} is an object, a dict or a model, and not {type(data).__name__}")
    options: dict[str, Any] = {"function_id": function_id, "payload": {"data": msgspec.Raw(payload)}}
    if timeout is not None:
        options["timeout"] = timeout_text(timeout)
    call.opts = values.encode(options, f"the data for step {step_id!r} has")
    call.kind = kind
    return call


def timeout_text(timeout: Timeout) -> str:
    """The protocol's form of a time-out; a bare number is milliseconds, as in the other SDKs of the protocol."""
    if isinstance(timeout, bool | float):  # a fraction looks like seconds
        raise TypeError(
            f"say the unit of a time-out: '{timeout}s', timedelta(seconds={timeout}), or use whole milliseconds"
        )
    if isinstance(timeout, int) and timeout < 0:
        raise ValueError(f"a time-out can not be negative, and {timeout} is")
    return format_duration(timeout if isinstance(timeout, int) else to_ms(timeout))


def target(step_id: str, function: object) -> str:
    """The id of a function that is at hand. Raises ``TypeError``."""
    found = getattr(function, "id", None)
    if not isinstance(found, str):
        raise TypeError(
            f"step {step_id!r} invokes what @client.create_function(...) made, not {function!r:.60}; "
            "by its id, a function is invoked with step.invoke_by_id"
        )
    return found


def full_id(step_id: str, own_app: str, app_id: str | None, function_id: str) -> str:
    """The id of a function of another app, or of this one. Raises ``ValueError`` where it has none."""
    if not function_id:
        raise ValueError(f"step {step_id!r} has to say which function it invokes: its fn_id")
    return f"{app_id or own_app}-{function_id}"
