"""A run as rows of bars over time: what it waited for, what was tried, how long each took. Pure; times are ms since 1970."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from stepwell.core.flow.words import passed
from stepwell.core.model import Attempt, Run, RunStatus, Step, StepStatus
from stepwell.wire.ops import Opcode, opcode

_PHASES = ("dns", "connect", "tls", "first_byte", "transfer")
_SLIVER = 0.35
"""Percent of the width that a bar has at least, so that it can be seen."""
_STEPS_OF_TICKS = (1, 2, 5)


class Kind(StrEnum):
    """What happened in the time of a bar. ``held``: a limit kept it back; ``delay``: between two attempts."""

    QUEUE = "queue"
    HELD = "held"
    RUN = "run"
    FAILED = "failed"
    DELAY = "delay"
    SLEEP = "sleep"
    WAIT = "wait"
    PHASE = "phase"


@dataclass(frozen=True, slots=True)
class Bar:
    """``end`` is None while it goes on. ``name``: of an HTTP phase; ``attempt``: from 0, where it belongs to one.

    ``note``: what came of an attempt, or why there is a delay after it.
    """

    kind: Kind
    start: float
    end: float | None
    name: str = ""
    attempt: int | None = None
    note: str = ""

    @property
    def length(self) -> float | None:
        """Milliseconds; None while it goes on."""
        return None if self.end is None else self.end - self.start


@dataclass(frozen=True, slots=True)
class Row:
    """A step, the run itself (no ``step_id``), or a run that a step invoked (``run_id`` of that one, ``depth`` 1)."""

    name: str
    status: str
    bars: tuple[Bar, ...]
    run_id: str
    step_id: str = ""
    op: str = ""
    depth: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Rows in the order of their creation, from ``start`` to ``end``."""

    start: int
    end: int
    rows: list[Row] = field(default_factory=list[Row])

    def place(self, bar: Bar) -> tuple[float, float]:
        """Where a bar lies: its left end and its width, in percent."""
        span = max(1, self.end - self.start)
        left = min(100.0, max(0.0, (bar.start - self.start) * 100 / span))
        right = 100.0 if bar.end is None else min(100.0, max(left, (bar.end - self.start) * 100 / span))
        width = max(right - left, _SLIVER)
        return round(min(left, 100 - width), 3), round(width, 3)

    def ticks(self, most: int = 5) -> list[tuple[float, float]]:
        """Round times since the start (ms) to label, each with its place in percent."""
        span = max(1, self.end - self.start)
        step = _round_step(span / most)
        return [(at * step, round(at * step * 100 / span, 3)) for at in range(int(span // step) + 1)]


def timeline(
    run: Run,
    steps: Iterable[Step],
    now: int,
    *,
    held: Mapping[str, str] | None = None,
    children: Mapping[str, Sequence[Run]] | None = None,
    first: int = 0,
    count: int | None = None,
) -> Timeline:
    """The run's own row and those of its steps ``first`` to ``first + count`` (default: all of them).

    ``held``: what keeps a step back right now, in words, by step id. ``children``: the runs that a step invoked.
    """
    end = max(now if run.ended_at is None else run.ended_at, run.queued_at)
    ordered = sorted(steps, key=lambda step: step.number)
    shown = ordered[first:] if count is None else ordered[first : first + count]
    over = run.ended_at
    rows = [Row(run.function_id, run.status.value, _of_run(run, None), run.run_id)]
    for step in shown:
        note = (held or {}).get(step.step_id, "")
        bars = tuple(_of_step(step, over, held=bool(note)))
        status = step.status.value if step.ended or over is None else "stopped"
        rows.append(Row(step.name, status, bars, run.run_id, step.step_id, step.op, 0, note or _note(step)))
        rows += [
            Row(child.function_id, child.status.value, _of_run(child, over), child.run_id, op="run", depth=1)
            for child in (children or {}).get(step.step_id, ())
        ]
    return Timeline(run.queued_at, end, rows)


def _of_run(run: Run, over: int | None) -> tuple[Bar, ...]:
    """``over``: when the time that is shown ends."""
    stop = run.ended_at if run.ended_at is not None else over
    if run.started_at is None:
        return (Bar(Kind.QUEUE, run.queued_at, stop),)
    kind = Kind.FAILED if run.status is RunStatus.FAILED else Kind.RUN
    queue = (Bar(Kind.QUEUE, run.queued_at, run.started_at),) if run.started_at > run.queued_at else ()
    return (*queue, Bar(kind, run.started_at, stop))


def _of_step(step: Step, over: int | None, *, held: bool) -> Iterable[Bar]:
    code = opcode(step.op)
    end = step.ended_at if step.ended else over
    if code is Opcode.SLEEP:
        yield Bar(Kind.SLEEP, step.created_at, end)
        return
    if code in (Opcode.WAIT_FOR_EVENT, Opcode.WAIT_FOR_SIGNAL, Opcode.INVOKE):
        yield Bar(Kind.WAIT, step.created_at, end)
        return
    at = step.began_at
    if not step.attempts and step.ended:
        yield from _plain(step, end)
        return
    reason = ""
    for attempt in step.attempts:
        yield from _before(attempt, at, reason)
        reason = attempt.reason or ""
        last = attempt is step.attempts[-1]
        yield from _of_attempt(attempt, failed=not last or _went_wrong(step, attempt))
        at = attempt.ended_at
    if not step.ended:
        yield Bar(_going_on(step, held), at, end)
    elif end is not None and end > at and code is Opcode.GATEWAY and step.callback is not None:
        yield Bar(Kind.WAIT, at, end)


def _before(attempt: Attempt, at: int, reason: str) -> Iterable[Bar]:
    """From the end of the attempt before, which said ``reason``, or from the beginning: its delay, and what held it back."""
    due = attempt.started_at - (attempt.held_ms or 0)
    if due > at:
        yield Bar(Kind.DELAY if attempt.number else Kind.QUEUE, at, due, note=reason)
    if attempt.started_at > max(due, at):
        yield Bar(Kind.HELD, max(due, at), attempt.started_at, note=passed(attempt))


def _plain(step: Step, end: int | None) -> Iterable[Bar]:
    """A step that the app ran within a call of its own."""
    begun = step.created_at if step.started_at is None else step.started_at
    if begun > step.created_at:
        yield Bar(Kind.QUEUE, step.created_at, begun)
    yield Bar(Kind.FAILED if step.status is StepStatus.FAILED else Kind.RUN, begun, end)


def _of_attempt(attempt: Attempt, *, failed: bool) -> Iterable[Bar]:
    kind = Kind.FAILED if failed else Kind.RUN
    note = attempt.error or (f"HTTP {attempt.status}" if attempt.status else "")
    yield Bar(kind, attempt.started_at, attempt.ended_at, attempt=attempt.number, note=note)
    at = float(attempt.started_at)
    for name in _PHASES:
        length = (attempt.phases or {}).get(name)
        if length:
            yield Bar(Kind.PHASE, at, at + length, name, attempt.number)
            at += length


def _went_wrong(step: Step, attempt: Attempt) -> bool:
    return attempt.error is not None or (not step.ended and step.status is StepStatus.RETRYING)


def _going_on(step: Step, held: bool) -> Kind:
    if held:
        return Kind.HELD
    if step.status is StepStatus.RETRYING:
        return Kind.DELAY
    if step.status is StepStatus.WAITING and step.attempts:
        return Kind.WAIT
    return Kind.RUN if opcode(step.op) in (Opcode.GATEWAY, Opcode.AI_GATEWAY) else Kind.QUEUE


def _note(step: Step) -> str:
    if step.ended:
        return ""
    reason = step.attempts[-1].reason if step.attempts else None
    return reason or ""


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, 50 … that is not below ``least``; whole seconds, minutes and hours from there on."""
    for unit, most in ((1, 1_000), (1_000, 60_000), (60_000, 3_600_000), (3_600_000, 86_400_000)):
        for scale in (1, 10, 100):
            for step in _STEPS_OF_TICKS:
                found = unit * scale * step
                if least <= found < most:
                    return found
    days = 86_400_000
    while days < least:
        days *= 2
    return days
