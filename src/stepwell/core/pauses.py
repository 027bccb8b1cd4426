"""Functions that start no runs for a while: what is recorded in a run's place. Pure."""

from typing import Final

from msgspec.structs import replace

from stepwell.core.inputs import Env
from stepwell.core.model import RunKey, StoredEvent
from stepwell.core.outputs import Commit
from stepwell.core.runs import KEY_LIFETIME_MS, header, not_begun, parent_step

REASON: Final = "paused"
_SKIP: Final = ":paused:"
"""Stands before function ids in keys: an event that is sent twice is skipped once, and may start the function later on."""


def skip(env: Env, *, run_id: str, app_id: str, function_id: str, event: StoredEvent) -> Commit:
    """The record that ``event`` came while the function was paused: a skipped run. Who invoked the function is told."""
    run = replace(header(env, run_id, app_id, function_id, event), parent=parent_step(event))
    once = RunKey(_SKIP + function_id, event.internal_id, env.now + KEY_LIFETIME_MS)
    made = not_begun(run, env, REASON, "InvokedFunctionPaused", sentence(function_id))
    return Commit(now=env.now, key=once, run=made.run, more=made.more)


def sentence(function_id: str) -> str:
    """What who asks for a run is told."""
    return f"The function {function_id} is paused: it starts no runs until it is resumed."
