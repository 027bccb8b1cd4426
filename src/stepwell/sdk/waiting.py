"""Waiting for an event as a step (protocol 3.4, 5.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from stepwell.sdk import memos
from stepwell.sdk.events import Event, EventType, fit, read_event
from stepwell.sdk.invoking import Timeout, timeout_text
from stepwell.wire.ops import Opcode

if TYPE_CHECKING:
    from stepwell.sdk.machine import Machine, StepCall


def wait_call(
    machine: Machine, step_id: str, event: str | EventType[Any], timeout: Timeout, if_exp: str | None
) -> StepCall:
    """The call of a step that waits for ``event``. Raises ``ValueError`` for an empty name."""
    name: object = event if isinstance(event, str) else getattr(event, "name", event)
    if not name or not isinstance(name, str):
        raise ValueError(f"step {step_id!r} has to say which event it waits for: a name or an EventType")
    if if_exp is not None and not isinstance(if_exp, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users may err
        raise ValueError(f"if_exp of step {step_id!r} is an expression, a text, and not {type(if_exp).__name__}")
    call = machine.make(step_id, Opcode.WAIT_FOR_EVENT)
    call.name = name
    call.kind = None if isinstance(event, str) else event.schema
    options = {"timeout": timeout_text(timeout)} | ({"if": if_exp} if if_exp else {})
    call.opts = msgspec.json.encode(options)
    return call


def met(memo: bytes, schema: Any) -> Event[Any] | None:
    """The event that came, or None. Raises ``StepError`` when the platform refused to wait, ``EventDataError``."""
    found = memos.waited_for(memo)
    if found is None:
        return None
    event = read_event(found)
    return event if schema is None else fit(event, schema)
