"""A run as a timed tree of its steps, with what was retried, when and why. Pure: JSON of the API in, lines out."""

import json
from typing import cast

from stepwell.cli.clock import duration, local_time, parse_instant, span

Json = dict[str, object]
_WIDE = {"tee": "├─ ", "end": "└─ ", "bar": "│  ", "gap": "   "}
_PLAIN = {"tee": "|- ", "end": "`- ", "bar": "|  ", "gap": "   "}
_MARKS = {
    "Completed": ("✓", "ok"),
    "Failed": ("✗", "failed"),
    "Cancelled": ("✗", "cancelled"),
    "Skipped": ("–", "skipped"),
    "Retrying": ("↻", "retrying"),
    "Waiting": ("…", "waiting"),
    "Running": ("…", "running"),
    "Planned": ("…", "planned"),
    "Queued": ("…", "queued"),
}
_MAX_OUTPUT = 2000
_WORTH_A_LINE = ("error", "delay_ms", "phases", "held_by")


def render(run: Json, steps: list[Json], *, unicode: bool = True, now: float = 0.0) -> list[str]:
    """The lines: the run, each step with its attempts, the result. ``now``: seconds since the epoch; times before it are none
    that a step waits for."""
    art = _WIDE if unicode else _PLAIN
    lines = [_heading(run, unicode)]
    result = _result(run)
    for index, step in enumerate(steps):
        last = index == len(steps) - 1 and result is None
        lines.append(art["end" if last else "tee"] + _step(step, run, unicode, now))
        lines += [art["gap" if last else "bar"] + line for line in _attempts(step, art)]
    if result is not None:
        lines.append(art["end"] + result)
    return lines


def _heading(run: Json, unicode: bool) -> str:
    parts = [str(run["run_id"]), str(run["function"]), f"{_mark(run, unicode)} {run['status']}"]
    took = span(run.get("queued_at"), run.get("ended_at"))
    if took is not None:
        parts.append(f"in {duration(took)}")
    parts.append(f"(queued {local_time(run.get('queued_at'))})")
    if isinstance(run.get("waiting"), dict):
        parts.append(_waiting(cast("Json", run["waiting"])))
    return "  ".join(parts)


def _mark(thing: Json, unicode: bool) -> str:
    wide, plain = _MARKS.get(str(thing["status"]), ("?", "?"))
    return wide if unicode else f"[{plain}]"


def _step(step: Json, run: Json, unicode: bool, now: float) -> str:
    begin = step.get("started_at") or step.get("created_at")
    parts = [f"{_mark(step, unicode)} {step['name']}", _kind(step)]
    after = f"+{duration(max(0.0, span(run.get('queued_at'), begin) or 0.0))}"
    took = span(begin, step.get("ended_at"))
    if step["op"] == "StepRun" and took == 0:  # the app tells of it when it is done; when it began is not known
        parts.append(f"ended at {after}")
    else:
        parts += [f"at {after}", f"took {duration(took)}" if took is not None else str(step["status"]).lower()]
    waiting = step.get("waiting")
    if isinstance(waiting, dict):
        parts.append(_waiting(cast("Json", waiting)))
    elif took is None and (parse_instant(step.get("due_at")) or 0.0) > now:
        parts.append(f"until {local_time(step['due_at'])}")
    if step.get("error") is not None:
        parts.append(_message(step["error"]))
    return "  ".join(part for part in parts if part)


def _waiting(shape: Json) -> str:
    until = f" until {local_time(shape['until'])}" if shape.get("until") else ""
    return f"waiting for the {shape['for']}{until}"


def _kind(step: Json) -> str:
    kind = {"Gateway": "fetch", "Sleep": "sleep"}.get(str(step["op"]), "")
    info = step.get("info")
    if kind == "fetch" and isinstance(info, dict):
        shown = cast("Json", info)
        return f"{shown.get('method', 'GET')} {shown.get('url', '')}".strip()
    return kind


def _attempts(step: Json, art: dict[str, str]) -> list[str]:
    attempts = cast("list[Json]", step.get("attempts") or [])
    if len(attempts) < 2 and not any(a.get(name) for a in attempts for name in _WORTH_A_LINE):
        return []
    lines: list[str] = []
    for index, attempt in enumerate(attempts):
        lines.append(art["end" if index == len(attempts) - 1 else "tee"] + attempt_line(attempt))
    return lines


def attempt_line(attempt: Json) -> str:
    """One attempt: number, what it had waited for, status or error, size, time, phases, what was waited for afterwards."""
    parts = [f"attempt {cast('int', attempt['number']) + 1}"]
    if attempt.get("held_by"):
        held_by = " and the ".join(cast("list[str]", attempt["held_by"]))
        parts.append(f"waited {duration(cast('float', attempt.get('held_ms') or 0))} for the {held_by}, then")
    if attempt.get("status") is not None:
        parts.append(f"HTTP {attempt['status']}")
    if attempt.get("error"):
        parts.append(str(attempt["error"]))
    if attempt.get("size") is not None:
        parts.append(f"{attempt['size']:,} bytes")
    parts.append(duration(cast("float", attempt.get("duration_ms") or 0)))
    phases = attempt.get("phases")
    if isinstance(phases, dict) and phases:
        shown = (
            f"{name.replace('_', ' ')} {_millis(value)}" for name, value in cast("dict[str, float]", phases).items()
        )
        parts.append(f"({', '.join(shown)} ms)")
    if attempt.get("delay_ms") is not None:
        known = str(attempt.get("error") or "")
        reason = f" ({attempt['reason']})" if attempt.get("reason") and str(attempt["reason"]) not in known else ""
        parts.append(f"then again after {duration(cast('float', attempt['delay_ms']))}{reason}")
    return "  ".join(parts)


def _millis(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 else f"{value:.3g}"


def _result(run: Json) -> str | None:
    if run.get("last_error"):
        return f"last call failed: {_message(run['last_error'])}, again at {local_time(run.get('retry_at'))}"
    if "output" not in run:
        return None
    if run["status"] == "Failed":
        return f"error: {_message(run['output'])}"
    text = json.dumps(run["output"], ensure_ascii=False)
    return "result: " + (text if len(text) <= _MAX_OUTPUT else f"{text[:_MAX_OUTPUT]}... ({len(text)} characters)")


def _message(error: object) -> str:
    if isinstance(error, dict):
        shape = cast("Json", error)
        name, message = shape.get("name"), shape.get("message")
        return " ".join(f"{name}: {message}".split()) if name else str(message)
    return " ".join(str(error).split())
