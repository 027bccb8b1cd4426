"""Runs, steps and events as JSON for people and scripts (protocol 1.6, with fields of our own). Pure."""

from datetime import UTC, datetime

import msgspec

from stepwell.core.flow.words import passed_words
from stepwell.core.model import Attempt, Item, Run, Step, StepStatus, StoredEvent
from stepwell.core.requestcopies import read_copy
from stepwell.server.api.masks import mask_event, mask_gateway
from stepwell.server.store.base import AppRecord
from stepwell.wire.dates import rfc3339
from stepwell.wire.ids import ZERO_UUID, stable_uuid
from stepwell.wire.ops import Opcode, opcode

Json = dict[str, object]
_UNWRAPPED = frozenset({Opcode.STEP, Opcode.SLEEP, Opcode.WAIT_FOR_EVENT})
_NONE = msgspec.Raw(b"")


class _Memo(msgspec.Struct):
    data: msgspec.Raw = _NONE
    error: msgspec.Raw = _NONE


_MEMO = msgspec.json.Decoder(_Memo)


def instant(millis: int | None) -> str | None:
    """RFC 3339 in UTC with milliseconds."""
    if millis is None:
        return None
    return rfc3339(datetime.fromtimestamp(millis / 1000, UTC))


def render_run(run: Run) -> Json:
    """A run without its steps. ``function`` is the slug, ``function_id`` its UUID."""
    shape: Json = {
        "run_id": run.run_id,
        "run_started_at": instant(run.started_at or run.queued_at),
        "function_id": stable_uuid(run.app_id, run.function_id),
        "function": run.function_id,
        "app_id": run.app_id,
        "function_version": 1,
        "environment_id": ZERO_UUID,
        "event_id": run.event_ids[0] if run.event_ids else None,
        "event_ids": run.event_ids,
        "status": run.status.value.capitalize(),
        "queued_at": instant(run.queued_at),
        "started_at": instant(run.started_at),
        "ended_at": instant(run.ended_at),
        "steps": run.steps,
        "steps_ended": run.completed,
    }
    if run.original is not None:
        shape["original_run_id"] = run.original
    if run.skipped is not None:
        shape["skip_reason"] = run.skipped
    if run.output is not None:
        shape["output"] = msgspec.Raw(run.output)
    if run.error is not None:
        shape["last_error"] = run.error
        shape["retry_at"] = instant(run.retry_at)
    return shape


def render_step(step: Step, *, outputs: bool = True) -> Json:
    """A step with its attempts. ``output`` or ``error`` when it has ended, unless ``outputs`` is off."""
    shape: Json = {
        "id": step.step_id,
        "name": step.name,
        "op": step.op,
        "status": step.status.value.capitalize(),
        "number": step.number,
        "position": step.position,
        "attempt": step.attempt,
        "attempts": [_attempt(attempt) for attempt in step.attempts],
        "created_at": instant(step.created_at),
        "started_at": instant(step.started_at),
        "ended_at": instant(step.ended_at),
        "due_at": instant(step.due_at),
    }
    asked = read_copy(step.info)
    if asked is not None:
        shape["info"] = {"method": asked.method, "url": asked.url}
    if step.ended and (outputs or step.status is StepStatus.FAILED):
        name, value = memo_value(step)
        shape[name] = value
    return shape


def render_job(item: Item, position: int) -> Json:
    """A work item (protocol 1.6). ``step_id`` is ours."""
    return {
        "JobID": f"{item.run_id}-{item.key}",
        "at": instant(item.due_at),
        "position": position,
        "kind": item.kind.value,
        "attempt": item.attempt,
        "step_id": item.key,
        "Raw": None,
    }


def render_app(app: AppRecord) -> Json:
    """An app as it registered. One without functions is archived: nothing starts any of it."""
    functions = msgspec.json.decode(app.functions, type=list[msgspec.Raw])
    return {
        "id": stable_uuid(app.app_id),
        "name": app.app_id,
        "url": app.url,
        "sdk": app.sdk,
        "functions": len(functions),
        "synced_at": instant(app.synced_at),
        "archived": not functions,
        "error": app.error,
    }


def _attempt(attempt: Attempt) -> Json:
    shape: Json = {
        "number": attempt.number,
        "started_at": instant(attempt.started_at),
        "ended_at": instant(attempt.ended_at),
        "duration_ms": attempt.ended_at - attempt.started_at,
    }
    rest = ("status", "error", "delay_ms", "reason", "phases", "size", "held_ms")
    shape |= {key: value for key in rest if (value := getattr(attempt, key)) is not None}
    return shape | ({"held_by": passed_words(attempt)} if attempt.passed else {})


def memo_value(step: Step) -> tuple[str, msgspec.Raw]:
    """What the step came to: ``("output", json)`` or ``("error", json)``, out of the wire's wrapper."""
    memo = step.memo or b"null"
    code = opcode(step.op)
    if not memo.lstrip().startswith(b"{") or (code in _UNWRAPPED and step.status is not StepStatus.FAILED):
        return "output", msgspec.Raw(memo)
    try:
        parts = _MEMO.decode(memo)
    except msgspec.DecodeError:
        return "output", msgspec.Raw(memo)
    data, error = bytes(parts.data), bytes(parts.error)
    if step.status is StepStatus.FAILED or (error and not data):
        return "error", msgspec.Raw(error or b"null")
    value = msgspec.Raw(data or b"null")
    return "output", mask_gateway(value) if code is Opcode.GATEWAY else value


def render_event(event: StoredEvent) -> Json:
    """An event: what the function sees, and how it came in."""
    body: Json = msgspec.json.decode(event.body, type=dict[str, object])
    return {
        **mask_event(body),
        "internal_id": event.internal_id,
        "account_id": ZERO_UUID,
        "environment_id": ZERO_UUID,
        "source": "api",
        "source_id": ZERO_UUID,
        "received_at": instant(event.received_at),
        "id": event.event_id,
        "name": event.name,
    }
