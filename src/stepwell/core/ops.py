"""What each op of an answer does to the run (protocol 3.4)."""

from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from stepwell.core.callbacks import arm
from stepwell.core.draft import Draft
from stepwell.core.fetches import prepare
from stepwell.core.flow.hosts import host_of
from stepwell.core.groups import completed, joins_group, open_group
from stepwell.core.invokes import failure, invoke
from stepwell.core.model import Body, Item, Step, StepStatus, WorkKind
from stepwell.core.requestcopies import copied
from stepwell.core.signals import begun, wait_for_signal
from stepwell.core.stepcalls import attempted, step_failed
from stepwell.core.waits import hopeless, wait_for_event
from stepwell.wire.ai import AI_ERROR, parse_ai_gateway
from stepwell.wire.constants import MAX_STEP_OUTPUT, MAX_STEPS, MAX_WAIT_MS
from stepwell.wire.durations import parse_duration_or_date
from stepwell.wire.fetch import FetchRequest
from stepwell.wire.gateway import BadGateway, parse_gateway
from stepwell.wire.ops import Op, Opcode, opcode

_NULL = b"null"
_LAZY = frozenset({Opcode.DEFER_ADD, Opcode.DEFER_ABORT, Opcode.NONE})
_RUN_OPS = frozenset({Opcode.RUN_COMPLETE, Opcode.SYNC_RUN_COMPLETE, Opcode.DISCOVERY})
_OUTCOMES = frozenset({Opcode.STEP, Opcode.STEP_RUN, Opcode.STEP_ERROR, Opcode.STEP_FAILED})
_NEED_ID = frozenset(Opcode) - _LAZY - _RUN_OPS


class UnknownOp(ValueError):
    """The answer has an opcode that the platform does not know."""


class Told(msgspec.Struct, frozen=True):
    """The call that brought ops: its ``item``, what its answer says of another attempt.

    ``since`` (ms): no step that it tells of began earlier.
    """

    item: Item
    since: int
    no_retry: bool | None = None
    retry_after: str | None = None


def apply_ops(draft: Draft, told: Told, ops: Sequence[Op]) -> None:
    """Apply the ops of one answer. Raises UnknownOp before anything is changed."""
    known = [(_code(op), op) for op in ops]
    reports = [(code, op) for code, op in known if code not in _LAZY and code not in _RUN_OPS]
    if draft.run.steps + len(reports) > MAX_STEPS and _too_many(draft, reports):
        return
    open_group(draft, reports)
    for code, op in known:
        if draft.ended:
            return
        if code is Opcode.RUN_COMPLETE or code is Opcode.SYNC_RUN_COMPLETE:
            draft.complete(_raw(op.data))
        elif code not in _LAZY and code is not Opcode.DISCOVERY:
            _report(draft, told, code, op)


def checkpoint(draft: Draft, ops: Sequence[Op]) -> None:
    """Record steps that the app ran within a call, in flight still or just over. A step that has ended is left as it is."""
    known = [(_code(op), op) for op in ops]
    reports = [(code, op) for code, op in known if code in (Opcode.STEP, Opcode.STEP_RUN)]
    if draft.run.steps + len(reports) > MAX_STEPS and _too_many(draft, reports):
        return
    for _, op in reports:
        step = draft.step(op.id) or draft.add_step(op.id, step_name(op), Opcode.STEP_RUN, StepStatus.PLANNED)
        if not step.ended:
            # Once its call is over the app does not know what became of this: it has to be called.
            step = replace(step, checkpointed=draft.run.discovering)
            known_since = draft.run.started_at if draft.run.started_at is not None else draft.run.queued_at
            since = draft.env.now if op.timing is None else known_since  # where it does not say, nobody knows
            _completed(draft, step, op, step.attempt, began(op, since, draft.env.now))


def step_name(op: Op) -> str:
    """What people call the step."""
    if op.display_name:
        return op.display_name
    if op.userland and op.userland.id:
        return op.userland.id
    return op.name or op.id


def _code(op: Op) -> Opcode:
    code = opcode(op.op)
    if code is None:
        raise UnknownOp(
            f"the app answered with the unknown opcode {op.op[:80]!r}: update the platform, or the app's SDK"
        )
    if not op.id and code in _NEED_ID:
        raise UnknownOp(f"the app answered with a {code.value} op that has no id: update its SDK")
    return code


def _too_many(draft: Draft, reports: list[tuple[Opcode, Op]]) -> bool:
    new = sum(1 for _, op in reports if draft.step(op.id) is None)
    if draft.run.steps + new <= MAX_STEPS:
        return False
    message = f"the run has more than {MAX_STEPS} steps: split the work over several runs"
    draft.fail("TooManySteps", message)
    return True


def began(op: Op, since: int, now: int) -> int:
    """When the step of an op began that is told of ``now``: as long ago as the app says that it took, and not before ``since``.

    ``since`` where it does not say. Its clock may be another one: the time of day that it tells of does not count.
    """
    return since if op.timing is None else max(since, now - op.timing.b // 1_000_000)


def _report(draft: Draft, told: Told, code: Opcode, op: Op) -> None:
    step = draft.step(op.id)
    if step is not None and step.ended:
        return
    if code in _OUTCOMES:
        step = step or draft.add_step(op.id, step_name(op), Opcode.STEP_RUN, StepStatus.PLANNED)
        _outcome(draft, told, step, code, op)
    elif step is None or not step.own_item:
        _begin(draft, step, code, op)


def _outcome(draft: Draft, told: Told, step: Step, code: Opcode, op: Op) -> None:
    at = began(op, told.since, draft.env.now)
    if code in (Opcode.STEP, Opcode.STEP_RUN):
        _completed(draft, step, op, told.item.attempt, at)
        return
    final = code is Opcode.STEP_FAILED or told.no_retry is True
    step_failed(draft, told.item, step, op.error or op.data, final, told.retry_after, at)


def _completed(draft: Draft, step: Step, op: Op, attempt: int, at: int) -> None:
    """The step's callable has returned, in an attempt that began ``at`` (ms)."""
    step = attempted(step, attempt, at, draft.env.now)
    data = _raw(op.data)
    if len(data) > MAX_STEP_OUTPUT:
        message = (
            f"step {step.name!r} returned {len(data)} bytes, more than the {MAX_STEP_OUTPUT} that a step may return: "
            "store the data elsewhere and return a reference to it"
        )
        _refuse(draft, step, "OutputTooLarge", message)
        return
    memo = data if opcode(op.op) is Opcode.STEP else b'{"data":' + data + b"}"
    completed(draft, draft.end_step(step, memo, StepStatus.COMPLETED))


def _begin(draft: Draft, step: Step | None, code: Opcode, op: Op) -> None:
    """A step that the platform has to do something about, and knew nothing of."""
    kind = Opcode.STEP_RUN if code is Opcode.STEP_PLANNED else code
    status = StepStatus.PLANNED if code is Opcode.STEP_PLANNED else StepStatus.WAITING
    if step is None:
        step = draft.add_step(op.id, step_name(op), kind, status)
    elif step.input is not None:
        step = replace(step, op=kind, status=status)
    step = joins_group(draft, step, op)
    if code is Opcode.STEP_PLANNED:
        draft.work_on(step, WorkKind.CALL, draft.env.now)
    elif code is Opcode.SLEEP:
        _sleep(draft, step, op)
    elif code is Opcode.GATEWAY:
        _gateway(draft, step, op, parse_gateway, "GatewayError")
    elif code is Opcode.AI_GATEWAY:
        _gateway(draft, step, op, parse_ai_gateway, AI_ERROR)
    elif code is Opcode.WAIT_FOR_EVENT:
        _wait(draft, step, op)
    elif code is Opcode.WAIT_FOR_SIGNAL:
        _signal(draft, step, op)
    elif code is Opcode.INVOKE:
        _invoke(draft, step, op)
    else:
        _refuse(draft, step, "UnsupportedStep", f"{code.value} steps are not supported by this version of the platform")


def _sleep(draft: Draft, step: Step, op: Op) -> None:
    text = op.name or _option(op, "duration") or ""
    try:
        delay = parse_duration_or_date(text, draft.env.now)
    except ValueError as problem:
        _refuse(draft, step, "InvalidDuration", f"step {step.name!r} can not sleep: {problem}")
        return
    if delay > MAX_WAIT_MS:
        _refuse(draft, step, "InvalidDuration", f"step {step.name!r} can not sleep for {text}: a year is the most")
        return
    draft.work_on(step, WorkKind.TIMER, draft.env.now + max(0, delay))


def _gateway(draft: Draft, step: Step, op: Op, parse: Callable[[bytes], FetchRequest], error: str) -> None:
    try:
        request = prepare(parse(_raw(op.opts)), draft.run.run_id, step.step_id)
        ref = f"{draft.run.run_id}.{step.step_id}.request"
        info, beside = copied(request, ref)
        if request.policy.callback:
            request, callback = arm(request, draft.run.run_id, draft.env.secret(), draft.env.public_url)
            step = replace(step, callback=callback)
    except BadGateway as problem:
        _refuse(draft, step, error, str(problem), "invalid")
        return
    if beside is not None:
        draft.body(Body(ref, draft.run.run_id, beside))
    payload = msgspec.msgpack.encode(request)
    limits, paces = draft.env.hosts.admission(draft.run.limits, draft.run.paces, host_of(request.url))
    now, deadline = draft.env.now, request.policy.deadline_ms
    expires = None if deadline is None else now + deadline
    draft.work_on(step, WorkKind.FETCH, now, payload, limits, paces, expires, info)


def _wait(draft: Draft, step: Step, op: Op) -> None:
    try:
        wait, timeout = wait_for_event(draft.run, step.step_id, op.name, _raw(op.opts), draft.trigger)
        delay = parse_duration_or_date(timeout, draft.env.now)
    except ValueError as problem:
        _refuse(draft, step, "InvalidWait", f"step {step.name!r} can not wait: {problem}")
        return
    if delay > 0 and not hopeless(wait):
        draft.wait(wait)
    _time_out(draft, step, delay)


def _signal(draft: Draft, step: Step, op: Op) -> None:
    try:
        wait, timeout = wait_for_signal(draft.run.run_id, step.step_id, _raw(op.opts))
        delay = parse_duration_or_date(timeout, draft.env.now)
    except ValueError as problem:
        _refuse(draft, step, "InvalidWait", f"step {step.name!r} can not wait: {problem}")
        return
    if delay > 0:
        draft.follow(begun(wait, step.name, draft.env.now))
    _time_out(draft, step, delay)


def _invoke(draft: Draft, step: Step, op: Op) -> None:
    try:
        event, timeout = invoke(_raw(op.opts), draft.run, step.step_id, step.name)
        delay = MAX_WAIT_MS if timeout is None else parse_duration_or_date(timeout, draft.env.now)
    except ValueError as problem:
        _refuse(draft, step, "InvalidInvoke", str(problem))
        return
    draft.emit(event)
    _time_out(draft, step, delay)


def _time_out(draft: Draft, step: Step, delay: int) -> None:
    """A timer ends the step's waiting after ``delay`` ms, a year at the most."""
    draft.work_on(step, WorkKind.TIMER, draft.env.now + min(max(0, delay), MAX_WAIT_MS))


def _refuse(draft: Draft, step: Step, name: str, message: str, kind: str | None = None) -> None:
    completed(draft, draft.end_step(step, failure(name, message, kind), StepStatus.FAILED))


def _raw(value: msgspec.Raw | None) -> bytes:
    return bytes(value) if value else _NULL


def _option(op: Op, key: str) -> str | None:
    if not op.opts:
        return None
    value: object = msgspec.json.decode(op.opts)
    found = value.get(key) if isinstance(value, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return found if isinstance(found, str) else None
