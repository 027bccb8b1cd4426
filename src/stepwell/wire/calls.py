"""One call of the engine to an app, and the app's answer, in the terms that both sides share (protocol sections 2 and 3).

The HTTP caller renders a :class:`CallRequest` to JSON and parses an HTTP answer to an :class:`Answer`; the in-process
caller passes the two as they are.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from stepwell.wire.constants import DISCOVERY, UNKNOWN_VERSION
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.ops import Op


class CallRequest(msgspec.Struct, kw_only=True):
    """What the app is asked to do: find the next steps of a run, or run the one step ``step_id``.

    ``steps`` and ``stack`` may be the engine's own growing containers: only ``stack[:current]`` and the steps named there
    belong to this request. ``events`` are JSON objects, the first one is ``ctx.event``. ``steps`` maps a hashed step id to
    its memoised JSON value in the wire's wrapper form (``{"data": ...}``, ``{"error": ...}``, ``null``, an event).
    """

    function_id: str
    run_id: str
    events: Sequence[bytes]
    steps: Mapping[str, bytes] = {}
    stack: Sequence[str] = ()
    current: int = 0
    step_id: str = DISCOVERY
    attempt: int = 0
    max_attempts: int = 5
    disable_immediate: bool = False
    use_api: bool = False
    req_version: int = UNKNOWN_VERSION
    request_id: str = ""
    generation: int = 0
    fn_uuid: str = ""
    qi_id: str = ""
    url: str | None = None
    inputs: Mapping[str, bytes] = {}
    """By hashed id of an unfinished step: the JSON array of arguments to run it with, in place of the code's own."""
    rescued: bool = False
    """Whether an earlier answer to this call may have been lost: the app reports all of its pending steps again."""
    trace: Mapping[str, str] = {}
    """Headers that carry the trace context (``wire.traces``)."""

    @property
    def is_discovery(self) -> bool:
        """Whether the app shall look for the next steps, rather than run one."""
        return self.step_id == DISCOVERY


class AnswerKind(StrEnum):
    """What an app's answer amounts to."""

    RETURNED = "returned"
    OPS = "ops"
    ERROR = "error"


class Answer(msgspec.Struct, kw_only=True):
    """What the app said. ``data`` is JSON (RETURNED), ``ops`` are set for OPS, ``error`` for ERROR.

    ``no_retry`` is the header's value, None when absent. ``retry_after`` is the header's text (seconds or a date).
    ``transport`` marks an ERROR that came from the way there, not from the user's function.
    """

    kind: AnswerKind
    data: bytes = b"null"
    ops: list[Op] = []
    error: ErrorInfo | None = None
    no_retry: bool | None = None
    retry_after: str | None = None
    req_version: int | None = None
    transport: bool = False
    ends_late: bool = False
    """The npm SDK says so: it names the losers of a race as long as they go on, rather than that its function has ended."""
    gone: bool = False
    """With an ERROR: the app has gone away before it could answer. No attempt was made, so none is counted."""
    status: int | None = None
    """Of an answer that came over HTTP."""
