"""The driver for ``def`` functions: run in a thread, unwound at the first step without a result, replayed later."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from stepwell.errors import Suspend, SuspensionSwallowed
from stepwell.sdk import edits, failures, memos
from stepwell.sdk.chain import Chain, HookFailed, hook_error
from stepwell.sdk.context import ContextSync, make_context_sync
from stepwell.sdk.drivers import middle, replays
from stepwell.sdk.drivers.bodies import run_body
from stepwell.sdk.drivers.pool import Pool
from stepwell.sdk.group import GroupSync
from stepwell.sdk.machine import Machine, StepCall
from stepwell.sdk.scope import SCOPE, TRACE, RunScope
from stepwell.sdk.steps_sync import StepSync
from stepwell.sdk.stored import LoadBody, loader, parts, whole
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.constants import REQUEST_VERSION
from stepwell.wire.ops import Opcode

if TYPE_CHECKING:
    from stepwell.sdk.functions import Function

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Ended:
    """The function returned, or raised ``error``."""

    result: object
    error: BaseException | None


_OVER: Future[Any] = Future()
"""In place of an outcome that has been taken."""
_OVER.set_result(None)
_MAX_SWALLOWED = 100
_TIMEOUT_S = 600.0


class SyncRun(RunScope):
    """One pass over a ``def`` function."""

    __slots__ = ("_calls", "_chain", "_context", "_done", "_function", "_load_body", "_loop", "_outcome", "_passed", "_pool",
                 "_raised", "_request", "_swallowed", "_where", "machine", "race")  # fmt: skip

    def __init__(
        self,
        function: Function,
        request: CallRequest,
        pool: Pool,
        load_body: LoadBody | None,
        chain: Chain | None = None,
    ) -> None:
        self._function = function
        self._chain = chain
        self._request = request
        self._pool = pool
        self._load_body = load_body
        self._loop = asyncio.get_running_loop()
        self._done = set(request.stack[: request.current])
        self._calls: list[StepCall] = []
        self._raised: Suspend | None = None
        self._where = ""
        self._passed = 0
        self._swallowed = 0
        self._outcome: Future[Any] = Future()
        self.machine = Machine(function.id)
        self.race = False
        """Whether the platform shall call after each step that ends, rather than once all have."""
        self.thread = 0
        self._context: ContextSync[Any] | None = None

    @property
    def step(self) -> StepSync:
        """See the base."""
        return StepSync(self, self._function)

    @property
    def run_id(self) -> str:
        """The run that this is a pass of."""
        return self._request.run_id

    async def calls(self, context: Context) -> Answer | list[StepCall]:
        """Run the pass: the function's answer, or the steps that it waits for. Raises ``HookFailed``, ``EventDataError``."""
        if self._chain is not None:
            self._context = self._make_context(plain=True)
            self._request = await middle.transform_input(self._chain, self._context, self._function, self._request)
            if not self._done:
                await self._chain.begin()
            self._chain.detach()
        self._pool.submit(context.run, self._main)
        found = await asyncio.wrap_future(self._outcome)
        self._outcome = _OVER
        if isinstance(found, _Ended):
            assert self._chain is not None
            return await middle.outcome(self._chain, self._function, found.result, found.error)
        return found

    # ------------------------------------------------------------------------------------------- called by the function

    def check(self) -> None:
        """As of any run. Once the function is suspended, every step call suspends it again."""
        super().check()
        if self._raised is None:
            return
        self._swallowed += 1
        if self._swallowed > _MAX_SWALLOWED:
            if not self._outcome.done():
                self._outcome.set_result(failures.answer(self._complaint()))
            self._pool.lost()
            threading.Event().wait()  # the loop in the user's code would never end: this daemon thread stays here
        raise self._raised

    def wait(self, call: StepCall) -> Any:
        """The step's result. Raises ``StepError`` when it failed, ``Suspend`` when it has none."""
        return memos.value(self.memo(call), call.kind)

    def memo(self, call: StepCall) -> bytes:
        """The step's memo, or the end of this pass."""
        self.machine.find(call)
        if call.hashed in self._done:
            memo = self._request.steps.get(call.hashed, b"null")
            self.machine.feed(call.hashed, memo)
            self._passed += 1
            if self._chain is not None and self._passed == len(self._done):
                self._begin(self._chain)
            return memo
        self._calls.append(call)
        self._where = _caller()
        self._raised = Suspend(call.label)
        raise self._raised

    def parallel(self, callables: Sequence[Callable[[], T]], *, race: bool) -> tuple[T, ...]:
        """Each callable as far as it comes; then the results, or the end of this pass with all that they wait for."""
        self.race = self.race or race
        results: list[T] = []
        suspended: Suspend | None = None
        failed: Exception | None = None
        for callable_ in callables:
            try:
                results.append(callable_())
            except Suspend as suspend:
                suspended = suspended or suspend
                self._raised = None
            except Exception as error:  # noqa: BLE001 - raised below, once all have ended: a replay takes the same path
                failed = failed or error
            if self._raised is not None:
                raise self._complaint()
        if suspended is not None:
            self._raised = suspended
            raise suspended
        if failed is not None:
            raise failed
        return tuple(results)

    def load(self, ref: str, size: int) -> bytes:
        """A body that is kept beside the run's state."""
        return self._outside(whole(loader(self._load_body), ref, size))

    def parts(self, ref: str, size: int) -> Iterator[bytes]:
        """The same, part by part."""
        found = parts(loader(self._load_body), ref, size)
        while part := self._outside(anext(found, b"")):
            yield part

    def _outside(self, loading: Any) -> bytes:
        return asyncio.run_coroutine_threadsafe(_awaited(loading), self._loop).result(_TIMEOUT_S)

    @property
    def unasked(self) -> int:
        """How many recorded steps the pass did not come to."""
        return len(self._done) - self._passed

    def _begin(self, chain: Chain) -> None:
        """New code begins. A hook that fails ends the pass, whatever the function makes of it."""
        try:
            asyncio.run_coroutine_threadsafe(chain.begin(), self._loop).result(_TIMEOUT_S)
        except (HookFailed, TimeoutError) as problem:
            failed = problem if isinstance(problem, HookFailed) else hook_error(problem, "chain", "before_execution")
            self._outcome.set_exception(failed)
            self._raised = Suspend("a hook of a middleware that failed")
            raise self._raised from failed

    # ---------------------------------------------------------------------------------------------------- in the thread

    def _main(self) -> None:
        self.thread = threading.get_ident()
        SCOPE.set(self)
        TRACE.set(self._request.trace)
        self._settle(self._pass())  # no name for it here: the traceback of an error leads to this frame

    def _pass(self) -> _Ended | list[StepCall]:
        try:
            context = self._context or self._make_context(plain=False)
            result = self._function.call_sync(context)
        except BaseException as error:  # noqa: BLE001 - whatever the function raises is its outcome
            if _is_suspension(error):
                return self._calls
            swallowed = self._raised is not None and not isinstance(error, SuspensionSwallowed)
            return _Ended(None, self._complaint() if swallowed else error)
        return _Ended(result, None) if self._raised is None else _Ended(None, self._complaint())

    def _settle(self, end: _Ended | list[StepCall]) -> None:
        outcome: object = end
        if isinstance(end, _Ended) and self._chain is None:
            outcome = middle.returned(self._function, end.result) if end.error is None else failures.answer(end.error)
        self._let_go()
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    def _let_go(self) -> None:
        """The pass is over: as of :meth:`Execution.let_go`."""
        self._context = None
        self._calls = []
        self.machine.forget()
        if self._raised is not None:
            self._raised.__traceback__ = self._raised.__context__ = None

    def _make_context(self, *, plain: bool) -> ContextSync[Any]:
        group = GroupSync(self)
        return make_context_sync(self._request, self._function, self.step, group, self._replaying, plain=plain)

    def _complaint(self) -> SuspensionSwallowed:
        where = f" at {self._where}" if self._where else ""
        label = self._calls[-1].label if self._calls else "?"
        return SuspensionSwallowed(
            f"the suspension of the function at the step {label!r}{where} was caught by its own code: catch Exception instead "
            "of BaseException (or a bare except), do not return or raise in finally, or raise stepwell.Suspend again"
        )

    def _replaying(self) -> bool:
        return self._passed < len(self._done)


async def execute(
    function: Function,
    request: CallRequest,
    pool: Pool,
    context: Context,
    load_body: LoadBody | None,
    *,
    strict: bool = False,
    chain: Chain | None = None,
) -> Answer:
    """Answer one call request for a ``def`` function. ``strict``: a pass that leaves the recorded path is an error."""
    run = SyncRun(function, request, pool, load_body, chain)
    found = await run.calls(context)
    unasked = run.unasked
    if unasked and (not isinstance(found, Answer) or found.kind is AnswerKind.RETURNED):
        strayed = replays.strayed(request, unasked, [] if isinstance(found, Answer) else [call.label for call in found])
        if strict:
            return strayed
    if isinstance(found, Answer):
        return found if request.is_discovery else not_found(request, [])
    if not request.is_discovery:
        for call in found:
            if call.hashed == request.step_id and call.body is not None:
                edits.apply(call, request)
                return await run_body(call, pool, request.attempt, request.max_attempts, chain)
        return not_found(request, [call.label for call in found])
    if len(found) == 1 and found[0].op is Opcode.STEP_RUN and not request.disable_immediate:
        only = edits.apply(found[0], request)
        return await run_body(only, pool, request.attempt, request.max_attempts, chain)
    ops = [edits.apply(call, request).report(run.race) for call in found]
    answer = Answer(kind=AnswerKind.OPS, ops=ops, req_version=REQUEST_VERSION)
    return answer if chain is None else await middle.reported(chain, answer, found)


def not_found(request: CallRequest, found: list[str]) -> Answer:
    """The answer to a call for a step that the function did not come to."""
    return failures.problem(
        "StepNotFound",
        f"the step {request.step_id} was asked for, but the function did not come to it (it came to: "
        f"{', '.join(found) or 'none'}): its code may have changed since the run began, or it is not deterministic",
    )


def _is_suspension(error: BaseException) -> bool:
    """Whether it is a ``Suspend``, or what a task group in an ``asyncio.run`` of the function makes of one."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_suspension, cast("BaseExceptionGroup[BaseException]", error).exceptions))
    return isinstance(error, Suspend)


def _caller() -> str:
    """File and line of the user's code that called the step."""
    frame = inspect.currentframe()
    while frame is not None and f"{__package__}".split(".")[0] in str(frame.f_globals.get("__name__", "")).split("."):
        frame = frame.f_back
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


async def _awaited(loading: Awaitable[bytes]) -> bytes:
    return await loading
