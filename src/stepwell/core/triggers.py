"""Which functions an event starts (protocol 5.2)."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from stepwell.core.cel import ExpressionError, Program
from stepwell.core.cel import compile as compile_expression
from stepwell.core.cron import problem
from stepwell.wire.functions import FunctionConfig
from stepwell.wire.jsons import decode

EVENT_ONLY: Final = frozenset({"event"})
"""What expressions of triggers and keys may name."""

_REMEMBERED: Final = 10_000

_Entry = tuple[int, str, Program | None]


class TriggerIndex:
    """Functions by the events that start them. Immutable: make a new one when the functions change."""

    def __init__(self, functions: Iterable[FunctionConfig]) -> None:
        self._by_pattern: dict[str, list[_Entry]] = {}
        self._by_name: dict[str, list[_Entry]] = {}
        for number, function in enumerate(functions):
            for trigger in function.triggers:
                if trigger.event is None:
                    continue
                program = _program(trigger.expression)
                if program is not None or trigger.expression is None:
                    self._by_pattern.setdefault(trigger.event, []).append((number, function.id, program))

    def match(self, name: str, event: bytes | Mapping[str, Any], now_ms: int | None = None) -> list[str]:
        """Ids of the functions that an event of this name starts, each once, in the order in which they were given.

        ``event`` is the event as functions see it; as JSON text it is only read when an expression asks for it.
        ``now_ms``: when it came in, for expressions that ask for the time.
        """
        entries = self._entries(name)
        found: dict[str, int] = {}
        for number, function_id, program in entries:
            if function_id in found:
                continue
            if program is not None:
                event = decode(event) if isinstance(event, bytes) else event
                if not program.condition({"event": event}, now_ms=now_ms):
                    continue
            found[function_id] = number
        return sorted(found, key=lambda function_id: found[function_id])

    def listens(self, name: str) -> bool:
        """Whether events of this name start anything, expressions aside."""
        return bool(self._entries(name))

    def _entries(self, name: str) -> list[_Entry]:
        """Everything that listens to the name, remembered for names that come again."""
        found = self._by_name.get(name)
        if found is None:
            if len(self._by_name) >= _REMEMBERED:
                self._by_name.clear()
            found = [entry for pattern in patterns(name) for entry in self._by_pattern.get(pattern, ())]
            self._by_name[name] = found
        return found


def patterns(name: str) -> list[str]:
    """The name itself, and every pattern that covers it: of ``a/b.c`` these are ``a/*`` and ``a/b.*``, never ``*``."""
    ends = [at for at, char in enumerate(name) if char in "/." and at > 0]
    return [name, *(f"{name[: at + 1]}*" for at in ends if f"{name[: at + 1]}*" != name)]


def problems(function: FunctionConfig) -> list[str]:
    """What is wrong with the function's expressions, a sentence each; none when all is well."""
    given: list[tuple[str, str | None]] = [("trigger expression", trigger.expression) for trigger in function.triggers]
    given += [("concurrency key", entry.key) for entry in (*function.concurrency, *function.run_concurrency)]
    keyed = {
        "throttle key": function.throttle,
        "fetch_throttle key": function.fetch_throttle,
        "rateLimit key": function.rate_limit,
        "debounce key": function.debounce,
        "batchEvents key": function.batch,
        "singleton key": function.singleton,
    }
    given += [(what, entry.key) for what, entry in keyed.items() if entry is not None]
    given += [("priority", function.priority), ("idempotency", function.idempotency)]
    given += [("batchEvents if", function.batch.condition)] if function.batch else []
    found = [_problem(function.id, what, text, EVENT_ONLY) for what, text in given]
    both = EVENT_ONLY | {"async"}
    found += [_problem(function.id, "cancel if", entry.condition, both) for entry in function.cancel]
    found += [_cron_problem(function.id, trigger.cron) for trigger in function.triggers]
    return [problem for problem in found if problem is not None]


def _cron_problem(function_id: str, cron: str | None) -> str | None:
    found = None if cron is None else problem(cron)
    return None if found is None else f"function {function_id!r}: {found}"


def _problem(function_id: str, what: str, text: str | None, variables: frozenset[str]) -> str | None:
    if text is None:
        return None
    try:
        compile_expression(text, variables)
    except ExpressionError as problem:
        return f"function {function_id!r}: {what} {text[:200]!r}: {problem}"
    return None


def _program(expression: str | None) -> Program | None:
    """None as well for one that can not be read: :func:`problems` tells of it, and it matches nothing."""
    try:
        return None if expression is None else compile_expression(expression, EVENT_ONLY)
    except ExpressionError:
        return None
