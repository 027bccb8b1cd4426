"""Running the callable of one step, and the op that tells how it ended."""

import asyncio
import inspect
from collections.abc import Callable
from contextvars import Context
from typing import Any, cast

import msgspec

from stepwell.errors import StepError
from stepwell.sdk import failures, values
from stepwell.sdk.drivers.pool import Pool
from stepwell.sdk.machine import StepCall
from stepwell.sdk.scope import SCOPE, StepBody
from stepwell.wire.calls import Answer, AnswerKind
from stepwell.wire.constants import REQUEST_VERSION
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.ops import Opcode


async def run_body(call: StepCall, pool: Pool, attempt: int, max_attempts: int) -> Answer:
    """Run the step's callable, on the loop when it is async, else in a thread, and answer with its outcome."""
    body = call.body
    assert body is not None
    assert call.context is not None
    context = call.context.copy()
    context.run(SCOPE.set, StepBody(call.label))
    try:
        result = await _call(body, context, pool)
        data = values.encode(result, f"step {call.label!r} returned")
    except KeyboardInterrupt:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return failed(call, error, attempt, max_attempts)
    except BaseException as error:  # noqa: BLE001 - a step may raise anything; it is the step's outcome
        return failed(call, error, attempt, max_attempts)
    return _ops(call.outcome(Opcode.STEP_RUN, data=data))


def failed(call: StepCall, error: BaseException, attempt: int, max_attempts: int) -> Answer:
    """The answer for a step whose callable raised."""
    final = failures.is_final(error) and not isinstance(error, StepError)
    code = Opcode.STEP_FAILED if attempt + 1 >= max_attempts else Opcode.STEP_ERROR
    answer = _ops(call.outcome(code, error=failures.encoded(error)))
    answer.no_retry = True if final else None
    answer.retry_after = failures.retry_after(error)
    return answer


def abandoned(call: StepCall) -> Answer:
    """The answer for a step that nobody awaits any longer: its callable is not run, and its outcome will be ignored."""
    error = ErrorInfo(name="StepAbandoned", message="the function cancelled the task that awaited this step")
    return _ops(call.outcome(Opcode.STEP_FAILED, error=msgspec.json.encode(error)))


async def _call(body: Callable[[], object], context: Context, pool: Pool) -> object:
    loop = asyncio.get_running_loop()
    if is_async(body):
        return await loop.create_task(failures.without_exit(cast(Any, body())), context=context)
    result = await asyncio.wrap_future(pool.submit(context.run, body), loop=loop)
    if inspect.isawaitable(result):
        return await loop.create_task(failures.without_exit(result), context=context)
    return result


def is_async(handler: Any) -> bool:
    """Whether calling it makes a coroutine."""
    while hasattr(handler, "func"):  # functools.partial
        handler = handler.func
    if inspect.iscoroutinefunction(handler):
        return True
    call = getattr(cast("type[Any]", type(handler)), "__call__", None)  # noqa: B004 - an object whose call is async
    return inspect.iscoroutinefunction(call)


def _ops(op: Any) -> Answer:
    return Answer(kind=AnswerKind.OPS, ops=[op], req_version=REQUEST_VERSION)
