"""Calls functions that live in this process, on the user's loop; requests and answers cross threads in batches."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.constants import CALL_TIMEOUT_S
from stepwell.wire.errors import ErrorInfo

Execute = Callable[[CallRequest], Awaitable[Answer]]


class _Crossing:
    """One call on its way: the engine's future, and the task on the user's side."""

    __slots__ = ("abandoned", "answer", "future", "request", "task")

    def __init__(self, request: CallRequest, future: asyncio.Future[Answer]) -> None:
        self.request = request
        self.future = future
        self.answer: Answer | None = None
        self.task: asyncio.Task[None] | None = None
        self.abandoned = False


class InProcessCaller:
    """``execute`` runs on ``user_loop``; ``call`` belongs to the engine's loop, which may be the same.

    ``timeout_s``: how long a call may take; after that it is an ERROR answer, and its task is cancelled.
    """

    def __init__(
        self,
        execute: Execute,
        user_loop: asyncio.AbstractEventLoop,
        forget: Callable[[str], None] | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        self._timeout_s = timeout_s
        self._execute = execute
        self._forget = forget
        self._user_loop = user_loop
        self._engine_loop: asyncio.AbstractEventLoop | None = None
        self._out: deque[_Crossing] = deque()
        self._back: deque[_Crossing] = deque()
        self._out_set = False
        self._back_set = False

    async def call(self, request: CallRequest) -> Answer:
        """Run the call on the user's loop."""
        loop = self._engine_loop = asyncio.get_running_loop()
        crossing = _Crossing(request, loop.create_future())
        self._out.append(crossing)
        if not self._out_set:
            self._out_set = True
            try:
                self._user_loop.call_soon_threadsafe(self._receive)
            except RuntimeError:  # the loop is closed
                self._out_set = False
                self._out.clear()
                return _gone()
        timer = loop.call_later(self._timeout_s, self._expire, crossing)
        try:
            return await crossing.future
        except asyncio.CancelledError:
            self._give_up(crossing)
            raise
        finally:
            timer.cancel()

    def ended(self, run_id: str) -> None:
        """Have the SDK give up what it keeps for the run."""
        if self._forget is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._user_loop.call_soon_threadsafe(self._forget, run_id)

    def _expire(self, crossing: _Crossing) -> None:
        if not crossing.future.done():
            message = (
                f"the code in {crossing.request.function_id} gave no answer within {self._timeout_s:g} s: make the step "
                "shorter, or raise STEPWELL_CALL_TIMEOUT"
            )
            error = ErrorInfo(name="CallTimeout", message=message)
            crossing.future.set_result(Answer(kind=AnswerKind.ERROR, error=error, transport=True))
            self._give_up(crossing)

    def _give_up(self, crossing: _Crossing) -> None:
        crossing.abandoned = True
        with suppress(RuntimeError):
            self._user_loop.call_soon_threadsafe(self._abandon, crossing)

    async def close(self) -> None:
        """Nothing to let go of: the user's loop is the user's."""

    # on the user's loop

    def _receive(self) -> None:
        self._out_set = False
        while self._out:
            crossing = self._out.popleft()
            if not crossing.abandoned:
                crossing.task = self._user_loop.create_task(self._perform(crossing))

    async def _perform(self, crossing: _Crossing) -> None:
        try:
            crossing.answer = await self._execute(crossing.request)
        except asyncio.CancelledError as problem:
            task = asyncio.current_task()
            ours = task is not None and task.cancelling() > 0  # else the code raised it, and would at every call
            crossing.answer = _gone() if ours else _defect(problem)
        except Exception as problem:  # noqa: BLE001 - an answer in any case: a run must not hang
            crossing.answer = _defect(problem)
        crossing.task = None
        self._back.append(crossing)
        if not self._back_set and self._engine_loop is not None:
            self._back_set = True
            if not self._engine_loop.is_closed():
                self._engine_loop.call_soon_threadsafe(self._deliver)

    def _abandon(self, crossing: _Crossing) -> None:
        if crossing.task is not None:
            crossing.task.cancel()

    # on the engine's loop

    def _deliver(self) -> None:
        self._back_set = False
        while self._back:
            crossing = self._back.popleft()
            if not crossing.future.done() and crossing.answer is not None:
                crossing.future.set_result(crossing.answer)


def _defect(problem: BaseException) -> Answer:
    message = f"the SDK failed on a call ({type(problem).__name__}: {problem}); this is a defect: please report it"
    error = ErrorInfo(name="InternalError", message=message)
    return Answer(kind=AnswerKind.ERROR, error=error, transport=True)


def _gone() -> Answer:
    error = ErrorInfo(name="AppStopped", message="the program that the function lives in is shutting down")
    return Answer(kind=AnswerKind.ERROR, error=error, transport=True, gone=True)
