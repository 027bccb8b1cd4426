"""Logs: a line for people, or one JSON object for each event, with the ids of run and step."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from stepwell.core.inputs import Input
from stepwell.core.model import Run, RunStatus, RunView, Step, StoredEvent
from stepwell.core.outputs import Commit
from stepwell.server.settings.model import LogFormat
from stepwell.server.telemetry.observers import Missed, Observer
from stepwell.wire.errors import parse_error
from stepwell.wire.masks import mask_text

logger = logging.getLogger("stepwell.runs")
_OURS = (
    "event",
    "event_id",
    "run_id",
    "step_id",
    "step",
    "function",
    "app",
    "status",
    "op",
    "attempts",
    "duration_ms",
    "error",
    "reason",
)


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "logger", "message", ...}``: further members are those that the caller gave as ``extra``.

    Credentials that are known by their place in a URL or a header are masked, in tracebacks too.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": mask_text(record.getMessage()),
        }
        found = {name: getattr(record, name, None) for name in _OURS}
        line |= {name: value for name, value in found.items() if value is not None}
        if record.exc_info:
            line["exception"] = mask_text(self.formatException(record.exc_info))
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """The time of day and the message, masked likewise."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """One line, and those of a traceback."""
        return mask_text(super().format(record))


class OnceInAWhile(logging.Filter):
    """Leaves out an error that was said in the same words less than ``seconds`` ago.

    A database that is away is met by each part of the platform, again and again.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self._seconds = seconds
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is shown."""
        if record.levelno < logging.ERROR or record.exc_info:
            return True
        recent = {words: at for words, at in self._said.items() if record.created - at < self._seconds}
        message = record.getMessage()
        shown = message not in recent
        self._said = {message: record.created, **recent}
        return shown


class RunLog(Observer):
    """Says when a run begins or ends, a step ends, and an attempt has failed."""

    def received(self, events: Sequence[StoredEvent], missed: Sequence[Missed] = ()) -> None:
        """One line for each function that an event did not start."""
        for event, one in missed:
            said = {"event": "run.not_started", "event_id": event.internal_id, "function": one.function_id}
            more = {"reason": one.reason, **({"run_id": one.run_id} if one.run_id else {})}
            logger.info(
                "event %s starts no run of %s: %s", event.internal_id, one.function_id, one.reason, extra=said | more
            )

    def moved(self, before: RunView, commit: Commit, inputs: Sequence[Input]) -> None:
        """One line for each of these."""
        run = commit.run or before.run
        if before.run.status is RunStatus.QUEUED and run.status is not RunStatus.QUEUED:
            logger.info("run %s began", run.run_id, extra=_run("run.began", run))
        for step in commit.steps:
            old = before.steps.get(step.step_id)
            if step.ended and (old is None or not old.ended):
                logger.info("step %s %s", step.name, step.status.value, extra=_step("step.ended", run, step))
            elif step.attempts and (old is None or step.attempt > old.attempt):
                more = {"error": _attempt(step)}
                logger.warning("step %s failed", step.name, extra=_step("step.attempt_failed", run, step) | more)
        if run.status.ended and not before.run.status.ended:
            level = logging.WARNING if run.status is RunStatus.FAILED else logging.INFO
            logger.log(level, "run %s %s", run.run_id, run.status.value, extra=_run("run.ended", run))


def _run(event: str, run: Run) -> dict[str, object]:
    said: dict[str, object] = {
        "event": event,
        "run_id": run.run_id,
        "function": run.function_id,
        "app": run.app_id,
        "status": run.status.value,
    }
    if run.ended_at is not None:
        said["duration_ms"] = run.ended_at - run.queued_at
    if run.status is RunStatus.FAILED:
        said["error"] = parse_error(run.output).name
    return said


def _step(event: str, run: Run, step: Step) -> dict[str, object]:
    said = {
        "event": event,
        "run_id": run.run_id,
        "step_id": step.step_id,
        "step": step.name,
        "function": run.function_id,
    }
    said |= {"status": step.status.value, "op": step.op}
    more: dict[str, object] = {"attempts": step.attempt} if step.attempt else {}
    if step.ended_at is not None:
        more["duration_ms"] = step.ended_at - step.began_at
    return said | more


def _attempt(step: Step) -> str:
    """What went wrong in the newest attempt, in a word: messages are the user's own data."""
    newest = step.attempts[-1]
    return f"status {newest.status}" if newest.status is not None else (newest.error or "error").partition(":")[0]


def speak(log_format: LogFormat) -> None:
    """Show the platform's own log on stderr, and that of what sends its spans, unless somebody has set logging up."""
    handler = logging.StreamHandler()
    handler.addFilter(OnceInAWhile())
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    for name, level in (("stepwell", logging.INFO), ("opentelemetry", logging.WARNING)):
        top = logging.getLogger(name)
        if not top.handlers:
            top.addHandler(handler)
            top.setLevel(level)
            top.propagate = False
