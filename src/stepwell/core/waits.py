"""Waiting for events: what a step waits for, what ends a run, and whether an event is the one (protocol 5.5, 5.8)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from stepwell.core.cel import ExpressionError
from stepwell.core.cel import compile as compile_expression
from stepwell.core.cel.keys import equality_key
from stepwell.core.cel.residual import ResidualTooLarge, residual
from stepwell.core.model import Item, Run, StoredEvent, Wait, WorkKind
from stepwell.wire.constants import MAX_WAIT_MS
from stepwell.wire.durations import parse_duration_or_date
from stepwell.wire.function_config import Cancel
from stepwell.wire.jsons import decode

_CANCEL: Final = "cancel:"
_DELIVER: Final = "deliver"
_NEVER: Final = "false"
SINGLETON: Final = "cancel:singleton"
"""Key of the item that ends a run of a singleton for a newer one."""


class BadWait(ValueError):
    """The step does not say what to wait for."""


class _Options(msgspec.Struct, rename={"condition": "if"}):
    event: str | None = None
    timeout: str | None = None
    condition: str | None = None


def wait_for_event(run: Run, step_id: str, name: str | None, opts: bytes, event: bytes) -> tuple[Wait, str]:
    """What a WaitForEvent op waits for, and its time-out. Raises BadWait."""
    try:
        asked = msgspec.json.decode(opts, type=_Options)
    except msgspec.MsgspecError as problem:
        raise BadWait(f"it does not say what to wait for: {problem}") from None
    wanted = name or asked.event
    if not wanted:
        raise BadWait("it does not say which event to wait for")
    wait = _wait(run.run_id, step_id, wanted, asked.condition, event)
    return wait, asked.timeout or ""


def cancels(run_id: str, entries: Sequence[Cancel], event: bytes, now: int) -> tuple[Wait, ...]:
    """What may end a run of a function with these entries, for a year unless they say otherwise (protocol 5.8).

    One that can not be read, or that no event can meet, ends nothing.
    """
    found: list[Wait] = []
    for number, entry in enumerate(entries):
        try:
            wait = _wait(run_id, f"{_CANCEL}{number}", entry.event, entry.condition, event)
            lasts = parse_duration_or_date(entry.timeout, now) if entry.timeout else MAX_WAIT_MS
        except ValueError:
            continue
        if lasts > 0 and not hopeless(wait):
            found.append(replace(wait, until=now + lasts))
    return tuple(found)


def hopeless(wait: Wait) -> bool:
    """Whether no event can ever be it."""
    return wait.expression == _NEVER


def cancel_keys(run: Run) -> tuple[tuple[str, str], ...]:
    """The waits that end with the run."""
    return tuple((run.run_id, f"{_CANCEL}{number}") for number in range(run.cancels))


def meets(wait: Wait, event: Mapping[str, Any], now: int) -> bool:
    """Whether the event that came in ``now`` is what was waited for."""
    if wait.until is not None and now > wait.until:
        return False
    if wait.expression is None:
        return True
    own = None if wait.event is None else decode(wait.event)
    return compile_expression(wait.expression).condition({"async": event, "event": own}, now_ms=now)


def delivery(event: StoredEvent) -> Item:
    """The item that hands an event to what waits for it. It belongs to no run: what is stored after it is not looked at."""
    return Item(run_id=f"event:{event.internal_id}", key=_DELIVER, kind=WorkKind.DELIVER, due_at=event.received_at)


def delivered(item: Item) -> str:
    """The internal id of the event that such an item is about."""
    return item.run_id.partition(":")[2]


def woken(wait: Wait, event: bytes, now: int) -> Item:
    """The item that hands the event to the run: its step's result, or the end of the run."""
    kind = WorkKind.CANCEL if wait.step_id.startswith(_CANCEL) else WorkKind.RESUME
    return Item(run_id=wait.run_id, key=wait.step_id, kind=kind, due_at=now, payload=event)


def _wait(run_id: str, step_id: str, name: str, condition: str | None, event: bytes) -> Wait:
    """What the condition says of the run's own event is filled in now; where that grows too large the event is kept."""
    if not condition:
        return Wait(run_id=run_id, step_id=step_id, name=name)
    try:
        left = residual(condition, decode(event))
    except ResidualTooLarge:
        path, value = equality_key(condition) or (None, b"")
        return Wait(
            run_id=run_id, step_id=step_id, name=name, expression=condition, event=event, path=path, value=value
        )
    except ExpressionError as problem:
        raise BadWait(f"its expression can not be read: {problem}") from None
    path, value = equality_key(left) or (None, b"")
    expression = None if left == "true" else left
    return Wait(run_id=run_id, step_id=step_id, name=name, expression=expression, path=path, value=value)
