"""Middleware around the answer to a call: input in, outputs out, and what a failing hook comes to."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from stepwell.sdk import failures, memos, values
from stepwell.sdk.chain import Chain, HookFailed
from stepwell.sdk.middleware import StepMemo, TransformOutputStepInfo
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.constants import REQUEST_VERSION
from stepwell.wire.ops import Opcode

if TYPE_CHECKING:
    from stepwell.sdk.context import Context, ContextSync
    from stepwell.sdk.functions import Function
    from stepwell.sdk.machine import StepCall

_WRAPPERS = frozenset({"data", "error", "input"})


async def answered(chain: Chain, function: Function, work: Awaitable[Answer]) -> Answer:
    """The answer that ``work`` comes to, or that of the hook which failed in it; then ``before_response``."""
    try:
        try:
            answer = await work
        except HookFailed as failed:
            if failed.hook == "transform_output":
                raise
            answer = await outcome(chain, function, None, failed.error)
        await chain.before_response()
    except HookFailed as failed:
        return failures.answer(failed.error)
    return answer


async def transform_input(
    chain: Chain, context: Context[Any] | ContextSync[Any], function: Function, request: CallRequest
) -> CallRequest:
    """The request with the memos as the hooks left them; ``context`` is changed in place, and gets typed events.

    Raises ``HookFailed`` and ``EventDataError``.
    """
    known = [hashed for hashed in request.stack[: request.current] if hashed in request.steps]
    read = {hashed: _read(request.steps[hashed]) for hashed in known} if chain.reads_input() else {}
    await chain.transform_input(context, function, read)
    for event in {id(event): event for event in (context.event, *context.events)}.values():
        if isinstance(event.data, dict):
            function.typed(event)
    await chain.replay()
    if not read:
        return request
    written = {hashed: _written(memo, request.steps[hashed], function) for hashed, memo in read.items()}
    return msgspec.structs.replace(request, steps={**request.steps, **written})


async def outcome(chain: Chain, function: Function, result: Any, error: BaseException | None) -> Answer:
    """The answer of a function that returned ``result`` or raised ``error``."""
    if error is None:
        await chain.begin()
        await chain.after_execution()
    found = await chain.transform_output(result, error)
    if found.error is not None:
        return failures.answer(found.error)
    return returned(function, found.output if found.has_output() else None)


def returned(function: Function, result: object) -> Answer:
    """The answer of a function that returned ``result``."""
    try:
        data = values.encode(result, f"function {function.id!r} returned")
    except Exception as problem:  # noqa: BLE001 - what the user's own objects raise is the function's outcome
        return failures.answer(problem)
    return Answer(kind=AnswerKind.RETURNED, data=data, req_version=REQUEST_VERSION)


async def step_outcome(
    chain: Chain, call: StepCall, op: Opcode, result: Any, error: BaseException | None
) -> tuple[Any, BaseException | None]:
    """What a step's callable came to, after the hooks."""
    await chain.after_execution()
    info = TransformOutputStepInfo(call.user_id, op if error is not None else Opcode.STEP_RUN, _options(call.opts))
    found = await chain.transform_output(result, error, info)
    return (found.output if found.has_output() else None), found.error


async def reported(chain: Chain, answer: Answer, calls: Sequence[StepCall]) -> Answer:
    """The answer that reports ``calls``. Several at once are shown to no hook, but for the payloads of invoked functions."""
    await chain.after_execution()
    for op, call in zip(answer.ops, calls, strict=True):
        if len(calls) > 1 and call.op is not Opcode.INVOKE:
            continue
        options = _options(op.opts)
        result = await chain.transform_output(None, None, TransformOutputStepInfo(call.user_id, Opcode(op.op), options))
        if result.error is not None:
            return failures.answer(result.error)
        if options is not None:
            op.opts = msgspec.Raw(_encoded(options, f"the options of step {call.label!r} have"))
    return answer


def _read(memo: bytes) -> StepMemo:
    data, error = memos.split(memo)
    if error is None:
        return StepMemo(msgspec.json.decode(data))
    return StepMemo(None, msgspec.json.decode(error))


def _written(memo: StepMemo, before: bytes, function: Function) -> bytes:
    """The memo's JSON, in the form that it had: sleeps and events have no wrapper."""
    what = f"a middleware of {function.id!r} gave a step"
    if memo.error is not None:
        return b'{"error":' + _encoded(memo.error, what) + b"}"
    data = _encoded(memo.data, what)
    bare = memos.split(before)[0] is before
    if bare and not (isinstance(memo.data, dict) and len(memo.data) == 1 and _WRAPPERS.issuperset(memo.data)):  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        return data
    return b'{"data":' + data + b"}"


def _encoded(value: object, what: str) -> bytes:
    try:
        return values.encode(value, what)
    except values.ValueNotSerializable as problem:
        raise HookFailed(problem, "transform_input") from problem


def _options(raw: msgspec.Raw | bytes | None) -> dict[str, Any] | None:
    return None if not raw or raw == b"{}" else msgspec.json.decode(raw)
