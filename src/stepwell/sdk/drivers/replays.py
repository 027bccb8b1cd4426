"""A replay that leaves the recorded path: said once in the log, an error in always-replay mode."""

import logging

from stepwell.sdk import failures
from stepwell.wire.calls import Answer, CallRequest

_log = logging.getLogger("stepwell")
_MAX_SAID = 1000
_SHOWN = 5
_said: set[str] = set()


def strayed(request: CallRequest, missed: int, found: list[str]) -> Answer:
    """The error of a run whose replay did not come to ``missed`` recorded steps, but to those called ``found``."""
    names = ", ".join(map(repr, found[:_SHOWN])) + (", ..." if len(found) > _SHOWN else "")
    message = (
        f"a replay of {request.function_id} left the recorded path: it did not come to {missed} of the recorded steps, and "
        f"{'came to ' + names if found else 'ended'} instead. Put what differs from pass to pass (random numbers, UUIDs, the "
        "time, the order of a set) into steps, or keep the code as it was while runs are under way"
    )
    if request.function_id not in _said and len(_said) < _MAX_SAID:
        _said.add(request.function_id)
        _log.warning("run %s: %s", request.run_id, message)
    return failures.problem("NotDeterministic", message, no_retry=True)
