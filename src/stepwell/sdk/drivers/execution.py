"""One execution of an async function for one run: starts it, feeds it completions, keeps it suspended in between."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from stepwell.errors import RunAbandoned, StepUsageError
from stepwell.sdk import memos
from stepwell.sdk.context import Context as UserContext
from stepwell.sdk.drivers import gathered
from stepwell.sdk.drivers.parked import StepFuture
from stepwell.sdk.drivers.places import is_app
from stepwell.sdk.drivers.preview import Live, Preview
from stepwell.sdk.drivers.settle import Patience, Settler
from stepwell.sdk.drivers.timers import RunTimer, Timers
from stepwell.sdk.drivers.turns import Turns
from stepwell.sdk.drivers.waits import Owned, Wait
from stepwell.sdk.failures import without_exit
from stepwell.sdk.machine import Machine, State, StepCall
from stepwell.sdk.scope import SCOPE, TRACE, RunScope, forget
from stepwell.sdk.steps import Step
from stepwell.sdk.stored import LoadBody, loader, parts, whole
from stepwell.wire.calls import CallRequest

if TYPE_CHECKING:
    from stepwell.sdk.chain import Chain
    from stepwell.sdk.functions import Function

_MAX_ABANDONED_CALLS = 100
T = TypeVar("T")


class Execution(RunScope):
    """An execution of ``function`` for the run ``run_id``. All methods must be called on its loop."""

    __slots__ = (
        "_abandoned_calls",
        "_late",
        "_load_body",
        "_stack",
        "abandoned",
        "chain",
        "context",
        "delivered",
        "driving",
        "fed",
        "function",
        "lock",
        "loop",
        "machine",
        "owned",
        "preview",
        "replaying",
        "root",
        "run_id",
        "settler",
        "timers",
        "turns",
        "unawaited",
    )

    def __init__(
        self,
        function: Function,
        run_id: str,
        patience: Patience,
        late: Callable[[str], None] | None = None,
        load_body: LoadBody | None = None,
    ) -> None:
        is_app(function.handler)
        self.function = function
        self.run_id = run_id
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self.machine = Machine(function.id)
        self.timers = Timers(self.machine)
        self.owned = Owned(self.timers)
        self.settler = Settler(self.loop, self.owned, patience)
        self.turns = Turns(self.owned)
        self.root: asyncio.Task[Any] | None = None
        self.lock = asyncio.Lock()
        self.fed: list[str] = []
        self.driving = False
        self.replaying = True
        self.abandoned = False
        self.delivered = False
        """Whether the outcome has been given away: the next call is about a new attempt."""
        self.context: UserContext | None = None
        self.chain: Chain | None = None
        """The middleware of the call under way."""
        self.preview: Preview | None = None
        """The response that the function reads while it arrives."""
        self.unawaited: dict[int, tuple[StepCall, Coroutine[Any, Any, Any]]] = {}
        self._abandoned_calls = 0
        self._late = late
        self._load_body = load_body
        self._stack: object = None

    @property
    def step(self) -> Step:
        """See the base."""
        return Step(self, self.function)

    # -------------------------------------------------------------------------------------------- called by the function

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """The function made a task."""
        if not task.done() and task not in self.owned.parked:
            self.owned.active[task] = None
            self.settler.stir()

    def timer(
        self,
        plain: Callable[..., Any],
        when: float,
        callback: Callable[..., object],
        args: Any,
        context: Context | None,
    ) -> RunTimer | None:
        """The function set a timer."""
        if self.abandoned:
            return None
        return self.timers.add(plain, self.loop.time(), when, callback, args, context)

    def check(self) -> None:
        """As of any run; raises ``RunAbandoned`` once the execution has been given up."""
        super().check()
        if not self.driving and self.root is not None and self.root.cancelling():
            self.abandoned = True  # somebody else takes the loop down
        if self.abandoned and self._abandoned_calls < _MAX_ABANDONED_CALLS:
            self._abandoned_calls += 1
            raise RunAbandoned

    def made(self, call: StepCall, coroutine: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """The step's coroutine, kept in mind until it is awaited."""
        self.unawaited[call.number] = (call, coroutine)
        return coroutine

    async def wait(self, call: StepCall) -> Any:
        """Wait for the step's result. Raises ``StepError`` when it failed."""
        memo = await self.memo(call)
        return memos.value(memo, call.kind)

    async def memo(self, call: StepCall) -> bytes:
        """Wait until the step has ended; its memo. Empty where ``call.preview`` came first."""
        _, coroutine = self.unawaited.pop(call.number, (call, None))
        while self.preview is not None and not self.abandoned:
            await self.preview.over()
        if self.abandoned:  # clean-up that swallows everything, in a loop: it stays here
            await self.loop.create_future()
        if SCOPE.get() is not self or threading.get_ident() != self.thread:
            raise StepUsageError(
                f"step {call.label!r} is awaited outside of the run that made it: await steps in the function's own tasks"
            )
        if call.state is not State.MADE:
            raise StepUsageError(f"step {call.label!r} is awaited twice: keep its result, or wrap it in a task")
        memo = self.machine.find(call)
        if memo is not None:
            return memo
        return await self._park(call, coroutine)

    async def load(self, ref: str, size: int) -> bytes:
        """A body that is kept beside the run's state."""
        return await self.outside(whole(loader(self._load_body), ref, size))

    def parts(self, ref: str, size: int, start: int = 0) -> AsyncGenerator[bytes, None]:
        """The same, part by part."""
        load = loader(self._load_body)

        async def outside(ref: str, start: int, end: int) -> bytes:
            return await self.outside(load(ref, start, end))

        return parts(outside, ref, size, start)

    async def outside(self, work: Awaitable[Any]) -> Any:
        """Wait for the SDK's own input and output, which is none of the function's."""
        context = copy_context()
        context.run(forget)
        task = self.loop.create_task(_await(work), context=context)
        self.owned.loading.add(task)
        task.add_done_callback(self.owned.loading.discard)
        if isinstance(work, Coroutine):
            task.add_done_callback(lambda _: work.close())  # of a task that is cancelled before its first turn
        return await task

    async def _park(self, call: StepCall, coroutine: Coroutine[Any, Any, Any] | None) -> bytes:
        task = asyncio.current_task()
        assert task is not None
        call.bare = task.get_coro() is coroutine and call.kind is None
        future = StepFuture(loop=self.loop)
        future.parked = (self, task, call)
        call.waiter = future
        self.owned.active.pop(task, None)
        self.owned.parked[task] = None
        self.settler.stir()
        if not self.driving:
            self.loop.call_soon(self.tell_late)
        try:
            return await future
        finally:
            self.unpark(task)
            del task, future  # the traceback of a cancelled task's error would lead to the task itself

    def unpark(self, task: asyncio.Task[Any]) -> None:
        """The task does not wait for a step any longer."""
        if self.owned.parked.pop(task, self) is not self and not task.done():
            self.owned.active[task] = None

    # ---------------------------------------------------------------------------------------------- called by the driver

    def start(self, main: Awaitable[Any], context: Context) -> None:
        """Start the function's main coroutine, in ``context``."""
        context.run(SCOPE.set, self)
        context.run(TRACE.set, TRACE.get())
        self.root = self.loop.create_task(without_exit(main), context=context)
        self.root.add_done_callback(self._ended)

    @property
    def ended(self) -> bool:
        """Whether the function has returned or raised, and what it read along is on record."""
        return self.root is not None and self.root.done() and self.preview is None

    def missed(self, request: CallRequest) -> int:
        """How many completions no step call has asked for: what is fed, and all where the function ended before the first."""
        early = self.ended and not self.fed
        return request.current if early else self.machine.unasked

    def retire(self) -> None:
        """It has ended and nothing of it goes on: timers that its code has left behind do nothing any longer."""
        self.abandoned = self.machine.closed = True
        self.timers.close()
        self.let_go()

    def let_go(self) -> None:
        """Hold nothing of what the code has held, now that it is over.

        These references go round in circles. What hangs on them, bodies above all, would stay until Python's collector
        comes by, which is after so many objects, however large they are.
        """
        self.root = self.context = self.preview = None
        self.machine.forget()
        self.owned.forget()

    def fits(self, request: CallRequest) -> bool:
        """Whether what was fed so far is a beginning of the request's stack."""
        count = len(self.fed)
        if self.abandoned or count > request.current:
            return False
        if self.preview is not None:
            memo = request.steps.get(self.preview.hashed)
            if memo is not None and not self.preview.agrees(memo, self.run_id):
                return False
        return self._stack is request.stack or list(request.stack[:count]) == self.fed

    async def feed(self, request: CallRequest) -> Wait:
        """Settle, then feed the completions that are new, one at a time, settling after each; why it stopped."""
        root = self.root
        assert root is not None
        if self.preview is not None and len(self.fed) < request.current:
            # What was read along comes next: all else waits.
            self.fed.append(request.stack[len(self.fed)])
            self._feed(self.fed[-1], request.steps.get(self.fed[-1], b"null"))
        self.replaying = len(self.fed) < request.current
        if self.chain is not None and not self.replaying:
            await self.chain.begin()
        # Who reads a response along is neither suspended nor to be waited for: the record comes first.
        wait = Wait.EXPLAINED if self.preview is not None else await self.settle(final=not self.replaying)
        settled = True
        while len(self.fed) < request.current and not root.done():
            if members := gathered.alike(self, request):
                for hashed, memo, _ in members:
                    self.fed.append(hashed)
                    self._feed(hashed, memo)
                settled = not await gathered.pass_alike(self, members)
            else:
                hashed = request.stack[len(self.fed)]
                self.fed.append(hashed)
                self.replaying = len(self.fed) < request.current
                if self.chain is not None and not self.replaying:
                    await self.chain.begin()
                waiter = gathered.member(self, hashed)
                if not self._feed(hashed, request.steps.get(hashed, b"null")):
                    continue
                settled = waiter is None or not await gathered.passes(self, waiter)
            if settled:
                wait = await self.settle(final=not self.replaying)
        self.replaying = False
        if not settled:
            wait = await self.settle(final=True)
        self._stack = request.stack
        return wait

    async def settle(self, final: bool) -> Wait:
        """Wait until the run is suspended; its timers become durable then."""
        while True:
            wait = await self.settler.settle(final, self)
            if self.root is None or self.root.done():
                return wait
            due = self.timers.suspend(self.loop.time())
            if not due:
                return wait
            due[0][0].fire()

    def offer(self, hashed: str, live: Live) -> bool:
        """A response has begun to arrive: give it to the task that awaits the step, if nothing else goes on in the run.

        Then nothing can come before or after it that a replay would have the other way round.
        """
        call = self.machine.pending.get(hashed)
        waiter = None if call is None else call.waiter
        if call is None or not call.live or not isinstance(waiter, StepFuture) or waiter.done():
            return False
        if self.driving or self.abandoned or len(self.machine.pending) != 1 or not self.timers.idle:
            return False
        if self.owned.look() is not Wait.EXPLAINED:
            return False
        self.preview = call.preview = Preview(self, hashed, live)
        self.timers.still = True
        call.waiter = None
        waiter.resolve(b"")
        return True

    def _feed(self, hashed: str, memo: bytes) -> bool:
        call = self.machine.feed(hashed, memo)
        if call is None:
            return False
        if self.preview is not None and self.preview.hashed == hashed:
            preview, self.preview = self.preview, None
            self.timers.still = False
            preview.end(memo)
            return True
        waiter, call.waiter = call.waiter, None
        if isinstance(waiter, StepFuture):
            waiter.resolve(memo)
        elif isinstance(waiter, RunTimer):
            waiter.fire()
        return True

    def _ended(self, root: asyncio.Task[Any]) -> None:
        self.settler.stir()
        if not self.driving and not self.abandoned:
            self.tell_late()

    def tell_late(self) -> None:
        """Say that the platform should call, when there is news between two calls."""
        ended = self.root is not None and self.root.done()
        if self.driving or self.abandoned or self.preview is not None:
            return
        if self._late is not None and (ended or self.machine.has_news):
            self._late(self.run_id)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
