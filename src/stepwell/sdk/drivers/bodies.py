"""Running the callable of one step, and the op that tells how it ended."""

import asyncio
import inspect
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any, cast

import msgspec

from stepwell.errors import StepError
from stepwell.sdk import failures, values
from stepwell.sdk.chain import Chain, HookFailed
from stepwell.sdk.drivers import middle
from stepwell.sdk.drivers.pool import Pool
from stepwell.sdk.machine import StepCall
from stepwell.sdk.scope import SCOPE, TRACE, StepBody
from stepwell.wire.calls import Answer, AnswerKind
from stepwell.wire.constants import REQUEST_VERSION
from stepwell.wire.errors import ErrorInfo
from stepwell.wire.ops import Opcode, Timing


async def run_body(call: StepCall, pool: Pool, attempt: int, max_attempts: int, chain: Chain | None = None) -> Answer:
    """Run the step's callable, on the loop when it is async, else in a thread, and answer with its outcome.

    ``chain``: the middleware of the call. Raises ``HookFailed``.
    """
    at, began = time.time_ns(), time.perf_counter_ns()
    answer = await _answer(call, pool, attempt, max_attempts, chain)
    answer.ops[0].timing = Timing(at, time.perf_counter_ns() - began)
    return answer


async def _answer(call: StepCall, pool: Pool, attempt: int, max_attempts: int, chain: Chain | None) -> Answer:
    result, error = await _outcome(call, pool, chain)
    if chain is not None:
        op = _failure_op(attempt, max_attempts)
        result, error = await middle.step_outcome(chain, call, op, result, error)
    if error is None:
        try:
            data = values.encode(result, f"step {call.label!r} returned")
        except Exception as problem:  # noqa: BLE001 - what the user's own objects raise is the step's outcome
            error = problem
        else:
            return _ops(call.outcome(Opcode.STEP_RUN, data=data))
    return failed(call, error, attempt, max_attempts)


async def _outcome(call: StepCall, pool: Pool, chain: Chain | None) -> tuple[object, BaseException | None]:
    """What the callable returned, or raised. Raises ``CancelledError`` when the call is cancelled from outside."""
    body = call.body
    assert body is not None
    assert call.context is not None
    context = call.context.copy()
    context.run(SCOPE.set, StepBody(call.label, chain))
    context.run(TRACE.set, TRACE.get())
    try:
        return await _call(body, context, pool), None
    except (KeyboardInterrupt, HookFailed):
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return None, error
    except BaseException as error:  # noqa: BLE001 - a step may raise anything; it is the step's outcome
        return None, error


def _failure_op(attempt: int, max_attempts: int) -> Opcode:
    return Opcode.STEP_FAILED if attempt + 1 >= max_attempts else Opcode.STEP_ERROR


def failed(call: StepCall, error: BaseException, attempt: int, max_attempts: int) -> Answer:
    """The answer for a step whose callable raised."""
    final = failures.is_final(error) and not isinstance(error, StepError)
    answer = _ops(call.outcome(_failure_op(attempt, max_attempts), error=failures.encoded(error)))
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
