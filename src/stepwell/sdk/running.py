"""Running a function's own code as a step (protocol 3.4)."""

from __future__ import annotations

import functools
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from stepwell.sdk import edits, values
from stepwell.wire.ops import Opcode

if TYPE_CHECKING:
    from stepwell.sdk.machine import Machine, StepCall


def run_call(machine: Machine, step_id: str, handler: Any, args: Any, output_type: Any) -> StepCall:
    """The call of a step that runs ``handler(*args)``. Raises ``TypeError``."""
    call = machine.make(step_id, Opcode.STEP_RUN)
    if not callable(handler):
        raise TypeError(f"step {step_id!r} needs a function to call, not {type(handler).__name__}: pass f, not f()")
    call.body = functools.partial(handler, *args) if args else handler
    call.edit = functools.partial(edits.arguments, handler)
    call.context = copy_context()
    call.kind = values.declared(handler) if output_type is None else values.concrete(output_type)
    return call
