"""Spans, made from what the engine records: of events, runs, steps, calls of apps and attempts of requests. Pure.

Ids are hashes of the ids of what a span tells of, so that every process and every restart makes the same ones. Names and
attributes follow OpenTelemetry's semantic conventions where they have one; the rest begin with ``stepwell.``.
"""

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from urllib.parse import urlsplit

import msgspec

from stepwell.core.flow.words import passed
from stepwell.core.inputs import Answered
from stepwell.core.model import Attempt, Run, RunStatus, Step, StepStatus, StoredEvent
from stepwell.core.unstarted import Unstarted
from stepwell.wire.errors import parse_error
from stepwell.wire.ops import Opcode
from stepwell.wire.traces import TraceContext, read_context

Value = str | int | bool


class SpanKind(StrEnum):
    """OpenTelemetry's kinds, as far as they occur."""

    INTERNAL = "internal"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One span. ``at`` is its place in the trace, ``parent`` the id of the span above, None at the root. Times in ms.

    ``error``: what kind of error it ended with, None for none.
    """

    at: TraceContext
    parent: str | None
    name: str
    start: int
    end: int
    kind: SpanKind = SpanKind.INTERNAL
    attributes: dict[str, Value] = {}
    error: str | None = None
    notes: tuple[dict[str, Value], ...] = ()
    """Attributes of its span events, which are called ``run not started``."""


def _hash(size: int, *parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:size]


def _at(context: TraceContext, *parts: str) -> TraceContext:
    return msgspec.structs.replace(context, span_id=_hash(16, *parts))


def _of_event(event_id: str, trace: str) -> tuple[TraceContext, str | None]:
    """Where the span of an event is, and what is above it: the sender's span where it told of one."""
    given = read_context(trace)
    if given is not None:
        return _at(given, "event", event_id), given.span_id
    return TraceContext(_hash(32, "trace", event_id), _hash(16, "event", event_id)), None


def run_context(run: Run) -> TraceContext:
    """Where the span of a run is."""
    event, _ = _of_event(run.event_ids[0] if run.event_ids else run.run_id, run.trace)
    return _at(event, "run", run.run_id)


def step_context(run: Run, step_id: str) -> TraceContext:
    """Where the span of a step is."""
    return _at(run_context(run), "step", run.run_id, step_id)


def call_context(run: Run, key: str, claim: int) -> TraceContext:
    """Where the span of one call of the app is: what the app gets as the context of its own spans."""
    return _at(run_context(run), "call", run.run_id, key, str(claim))


def event_span(event: StoredEvent, missed: Sequence[Unstarted] = ()) -> Span:
    """An event that came in; ``missed``: what it did not start."""
    at, parent = _of_event(event.internal_id, event.trace)
    return Span(
        at=at,
        parent=parent,
        name=f"send {event.name}",
        kind=SpanKind.PRODUCER,
        start=event.received_at,
        end=event.received_at,
        attributes={
            "stepwell.event.id": event.internal_id,
            "stepwell.event.name": event.name,
            **_message("send", event.name, event.internal_id),
        },
        notes=tuple({"stepwell.function.id": one.function_id, "stepwell.reason": one.reason} for one in missed),
    )


def run_span(run: Run) -> Span:
    """A run that has ended."""
    event, _ = _of_event(run.event_ids[0] if run.event_ids else run.run_id, run.trace)
    attributes: dict[str, Value] = {
        "stepwell.run.id": run.run_id,
        "stepwell.run.status": run.status.value,
        "stepwell.function.id": run.function_id,
        "stepwell.app.id": run.app_id,
        "stepwell.event.name": run.trigger,
    }
    if run.trigger:
        attributes |= _message("process", run.trigger, *run.event_ids[:1])
    if run.started_at is not None:
        attributes["stepwell.run.queue_delay_ms"] = run.started_at - run.queued_at
    failed = run.status is RunStatus.FAILED
    return Span(
        at=run_context(run),
        parent=event.span_id if run.event_ids else None,
        name=f"run {run.function_id}",
        kind=SpanKind.CONSUMER,
        start=run.queued_at,
        end=run.ended_at if run.ended_at is not None else run.queued_at,
        attributes=attributes,
        error=parse_error(run.output).name if failed else None,
    )


def step_spans(run: Run, step: Step) -> list[Span]:
    """A step that has ended, and each recorded attempt of its request."""
    at = step_context(run, step.step_id)
    error = None
    if step.status is StepStatus.FAILED:
        error = _failure(step.memo)
    whole = Span(
        at=at,
        parent=run_context(run).span_id,
        name=f"step {step.name or step.op}",
        start=step.began_at,
        end=step.ended_at if step.ended_at is not None else step.began_at,
        attributes={
            "stepwell.run.id": run.run_id,
            "stepwell.function.id": run.function_id,
            "stepwell.step.id": step.step_id,
            "stepwell.step.name": step.name,
            "stepwell.step.op": step.op,
            "stepwell.step.status": step.status.value,
            "stepwell.step.attempts": step.attempt,
        },
        error=error,
    )
    if step.op not in (Opcode.GATEWAY, Opcode.AI_GATEWAY):
        return [whole]
    return [whole, *(_attempt(run, step, attempt, at) for attempt in step.attempts)]


def call_span(run: Run, given: Answered, now: int, url: str) -> Span:
    """A call of the app at ``url`` that was answered ``now``; an empty ``url`` for an app in the platform's own process."""
    item, answer = given.item, given.answer
    above = run_context(run) if item.is_discovery else step_context(run, item.key)
    error = None if answer.error is None else answer.error.name
    attributes: dict[str, Value] = {"stepwell.run.id": run.run_id, "stepwell.function.id": run.function_id}
    if not item.is_discovery:
        attributes["stepwell.step.id"] = item.key
    if url:
        attributes |= _http("POST", url, item.attempt, answer.status)
    return Span(
        at=call_context(run, item.key, item.claim),
        parent=above.span_id,
        name="POST" if url else "call",
        kind=SpanKind.CLIENT if url else SpanKind.INTERNAL,
        start=given.started_at,
        end=now,
        attributes=attributes,
        error=error,
    )


def _attempt(run: Run, step: Step, attempt: Attempt, above: TraceContext) -> Span:
    info = _info(step.info)
    error = (attempt.error or "").partition(":")[0] or None
    if error is None and attempt.status is not None and attempt.status >= 400:
        error = str(attempt.status)
    attributes = _http(info.method, info.url, attempt.number, attempt.status)
    attributes |= {"stepwell.run.id": run.run_id, "stepwell.step.id": step.step_id}
    if attempt.size is not None:
        attributes["http.response.body.size"] = attempt.size
    if attempt.held_ms is not None:
        attributes["stepwell.attempt.held_ms"] = attempt.held_ms
        attributes["stepwell.attempt.held_by"] = passed(attempt)
    for phase, taken in (attempt.phases or {}).items():
        attributes[f"stepwell.fetch.{phase}_us"] = round(taken * 1000)
    return Span(
        at=_at(above, "attempt", run.run_id, step.step_id, str(attempt.number)),
        parent=above.span_id,
        name=info.method,
        kind=SpanKind.CLIENT,
        start=attempt.started_at,
        end=attempt.ended_at,
        attributes=attributes,
        error=error,
    )


def _message(what: str, name: str, event_id: str = "") -> dict[str, Value]:
    """Attributes of a span that sends an event or processes it."""
    operation = {"send": "send", "process": "run"}[what]
    attributes: dict[str, Value] = {"messaging.system": "stepwell", "messaging.destination.name": name}
    attributes |= {"messaging.operation.type": what, "messaging.operation.name": operation}
    return {**attributes, "messaging.message.id": event_id} if event_id else attributes


class _Info(msgspec.Struct):
    method: str = "GET"
    url: str = ""


def _info(info: bytes | None) -> _Info:
    try:
        return msgspec.json.decode(info or b"{}", type=_Info)
    except msgspec.MsgspecError:
        return _Info()


def _http(method: str, url: str, resends: int, status: int | None) -> dict[str, Value]:
    """Attributes of an HTTP client span; the URL without its query, which may hold credentials."""
    attributes: dict[str, Value] = {"http.request.method": method}
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if host:
        attributes["server.address"] = host
        attributes["server.port"] = port or (443 if parts.scheme == "https" else 80)
        place = parts.netloc.rpartition("@")[2]
        attributes["url.full"] = f"{parts.scheme}://{place}{parts.path}"
    if resends:
        attributes["http.request.resend_count"] = resends
    if status is not None:
        attributes["http.response.status_code"] = status
    return attributes


class _Memo(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"")


def _failure(memo: bytes | None) -> str:
    try:
        return parse_error(msgspec.json.decode(memo or b"{}", type=_Memo).error).name
    except msgspec.MsgspecError:
        return "Error"
