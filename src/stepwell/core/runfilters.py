"""Expressions over a run and the event that started it: for people who look for some of many runs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, cast

from stepwell.core.cel import ExpressionError, Program
from stepwell.core.cel import compile as compile_expression
from stepwell.core.cel.nodes import Const, Index, Macro, Name, Node, Select
from stepwell.core.model import Run, RunStatus
from stepwell.wire.errors import parse_error
from stepwell.wire.jsons import decode

_VARIABLES: Final = frozenset({"event", "run"})


def _output(run: Run) -> object:
    if run.output is None or run.status is RunStatus.FAILED:
        return None
    try:
        return decode(run.output)
    except ValueError:
        return None


def _error(run: Run) -> object:
    if run.status is RunStatus.FAILED:
        found = parse_error(run.output)
        return {"name": found.name, "message": found.message}
    return None if run.error is None else {"name": "Error", "message": run.error}


def _duration(run: Run) -> int | None:
    return None if run.ended_at is None else run.ended_at - (run.started_at or run.queued_at)


FIELDS: Final[Mapping[str, Callable[[Run], object]]] = {
    "id": lambda run: run.run_id,
    "status": lambda run: run.status.value,
    "function": lambda run: run.function_id,
    "app": lambda run: run.app_id,
    "trigger": lambda run: run.trigger,
    "queued_at": lambda run: run.queued_at,
    "started_at": lambda run: run.started_at,
    "ended_at": lambda run: run.ended_at,
    "duration_ms": _duration,
    "steps": lambda run: run.steps,
    "steps_ended": lambda run: run.completed,
    "output": _output,
    "error": _error,
    "original": lambda run: run.original,
}
"""What ``run`` has. Times are milliseconds since the epoch; what is not there yet is null."""


class RunFilter:
    """A condition that has been read. Raises ExpressionError for one that can not be, or that names no field of a run."""

    def __init__(self, text: str) -> None:
        self._program: Program = compile_expression(text, _VARIABLES)
        named = list(_named(self._program.tree))
        self._fields = {name for name in named if name}
        self.needs_event = "" in named
        """Whether it asks for the event."""

    def passes(self, run: Run, event: Mapping[str, Any] | None, now_ms: int) -> bool:
        """Whether it is true of the run and its (first) event; what can not be computed is not true."""
        of_run = {name: FIELDS[name](run) for name in self._fields}
        return self._program.condition({"run": of_run, "event": event or {}}, now_ms=now_ms)


def _named(node: Node) -> Iterator[str]:
    """The fields of ``run`` that are named; an empty one for each ``event``."""
    if isinstance(node, Select | Index) and node.of == Name("run"):
        yield _field(node)
    elif isinstance(node, Macro) and node.variable in _VARIABLES:
        raise ExpressionError(f"{node.variable!r} is the name of something else here: choose another one")
    elif isinstance(node, Name):
        if node.name == "run":
            raise ExpressionError(f"'run' needs a field after it: run.{', run.'.join(FIELDS)}")
        yield from [""] if node.name == "event" else []
    else:
        for child in _below(node):
            yield from _named(child)


def _field(node: Select | Index) -> str:
    name = node.member if isinstance(node, Select) else node.at.value if isinstance(node.at, Const) else None
    if not isinstance(name, str) or name not in FIELDS:
        raise ExpressionError(f"a run has no field {str(name)[:80]!r}; it has {', '.join(FIELDS)}")
    return name


def _below(node: Node) -> Iterator[Node]:
    """The nodes right below it: in its fields, and in the tuples in them."""
    waiting: list[object] = [getattr(node, field.name) for field in fields(node)]
    while waiting:
        each = waiting.pop()
        if isinstance(each, tuple):
            waiting += cast("tuple[object, ...]", each)
        elif is_dataclass(each):
            yield cast("Node", each)
