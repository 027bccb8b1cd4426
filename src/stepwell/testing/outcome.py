"""What came of a tested run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from stepwell.sdk.events import Event
from stepwell.sdk.memos import split
from stepwell.sdk.signals import Signal
from stepwell.testing.messages import SentRequest
from stepwell.testing.sent import Outbox
from stepwell.wire.errors import ErrorInfo, parse_error

if TYPE_CHECKING:
    from stepwell.core.model import RunView, Step

_OPS = {"StepRun": "run", "Gateway": "fetch", "Sleep": "sleep"}


class RunFailed(AssertionError):
    """The tested run failed."""


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """One step. ``kind``: run, fetch, sleep; ``status``: completed, failed, or where an abandoned one was left.

    ``output`` is what a step.run returned, as JSON, and the HTTP status of a fetch. ``attempts`` counts all tries.
    """

    id: str
    kind: str
    status: str
    attempts: int
    output: Any = None
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended.

    ``status`` is completed or failed; ``output`` the decoded JSON of what the function returned; ``error`` has ``name``,
    ``message`` and ``stack``. ``steps`` are in order of creation; ``requests`` has every attempt that was sent;
    ``events`` and ``signals`` what the function sent; ``elapsed`` how long the run would have taken on a real clock, its
    code apart.
    """

    run_id: str
    status: str
    output: Any
    error: ErrorInfo | None
    steps: list[StepOutcome]
    requests: list[SentRequest]
    events: list[Event[Any]]
    signals: list[Signal]
    elapsed: timedelta

    @property
    def completed(self) -> bool:
        """Whether the function returned."""
        return self.error is None

    def step(self, step_id: str) -> StepOutcome:
        """The step of that id, the first one where it is repeated. Raises ``KeyError`` that names those there are."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(f"there is no step {step_id!r} in this run (there are: {[step.id for step in self.steps]})")

    def raise_for_error(self) -> RunOutcome:
        """Itself when the run completed. Raises ``RunFailed`` with the error and its traceback."""
        if self.error is None:
            return self
        stack = f"\n{self.error.stack}" if self.error.stack else ""
        raise RunFailed(f"{self.error.name}: {self.error.message}{stack}")


def run_outcome(view: RunView, requests: list[SentRequest], sent: Outbox, elapsed: timedelta) -> RunOutcome:
    """The outcome of a run that has ended."""
    run = view.run
    completed = run.status == "completed"
    return RunOutcome(
        run_id=run.run_id,
        status=run.status.value,
        output=msgspec.json.decode(run.output) if completed and run.output else None,
        error=None if completed else parse_error(run.output),
        steps=[_step(step) for step in sorted(view.steps.values(), key=lambda step: step.number)],
        requests=requests,
        events=sent.events,
        signals=sent.signals,
        elapsed=elapsed,
    )


def _step(step: Step) -> StepOutcome:
    data, error = (b"null", None) if step.memo is None else split(step.memo)
    value: Any = msgspec.json.decode(data)
    kind = _OPS.get(step.op, step.op)
    if kind == "fetch" and isinstance(value, Mapping):
        value = step.attempts[-1].status if step.attempts else None
    return StepOutcome(
        id=step.name,
        kind=kind,
        status=step.status.value,
        attempts=_attempts(step, kind),
        output=value,
        error=None if error is None else parse_error(error),
    )


def _attempts(step: Step, kind: str) -> int:
    """A step's record counts the attempts that failed; the one that made it completes them."""
    made = step.status == "completed" and kind == "run"
    return step.attempt + 1 if made else step.attempt
