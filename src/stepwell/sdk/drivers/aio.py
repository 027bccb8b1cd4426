"""The driver for a user's event loop: call requests in, answers out, suspended executions kept in between."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextvars import Context, copy_context
from typing import Any

from stepwell.errors import EventDataError
from stepwell.sdk import edits, failures
from stepwell.sdk.chain import Chain, HookFailed
from stepwell.sdk.client import Client
from stepwell.sdk.context import Context as UserContext
from stepwell.sdk.context import make_context
from stepwell.sdk.drivers import forgotten, hooks, middle, replays, threads
from stepwell.sdk.drivers.bodies import abandoned, run_body
from stepwell.sdk.drivers.execution import Execution
from stepwell.sdk.drivers.giveup import GIVE_UP_S, give_up
from stepwell.sdk.drivers.kept import MAX_KEPT, Kept
from stepwell.sdk.drivers.pool import Pool
from stepwell.sdk.drivers.preview import Live
from stepwell.sdk.drivers.settle import Patience
from stepwell.sdk.drivers.waits import Wait
from stepwell.sdk.functions import Function
from stepwell.sdk.machine import State, StepCall
from stepwell.sdk.scope import TRACE, forget
from stepwell.sdk.stored import LoadBody
from stepwell.wire.calls import Answer, AnswerKind, CallRequest
from stepwell.wire.constants import REQUEST_VERSION
from stepwell.wire.ops import Opcode


class Executor:
    """Executes call requests for an app's functions on the running event loop.

    Args:
        functions: what can be called: those of a client, or a mapping by full id; may grow later.
        max_kept: how many suspended executions are kept; the coldest is given up and replayed when it is needed.
        always_replay: keep none, so that every call replays its run: finds what is not deterministic.
        on_late: called with a run id when a kept execution finds steps, or ends, between two calls.
        load_body: loads a fetched body that the platform keeps beside the run's state.
        patience: how long waits of each kind are waited for.
    """

    def __init__(
        self,
        functions: Client | Mapping[str, Function],
        *,
        max_kept: int = MAX_KEPT,
        always_replay: bool = False,
        on_late: Callable[[str], None] | None = None,
        load_body: LoadBody | None = None,
        patience: Patience | None = None,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self._functions = functions if isinstance(functions, Mapping) else _ByClient(functions)
        self.always_replay = always_replay
        self.on_late = on_late
        self.load_body = load_body
        self._patience = patience or Patience()
        self._give_up_s = give_up_s
        self._kept = Kept(max_kept)
        self._pool = Pool()
        self._goodbyes: set[asyncio.Task[object]] = set()
        self._context = copy_context()
        self._context.run(forget)

    @property
    def kept(self) -> int:
        """How many suspended executions are kept now."""
        return len(self._kept)

    async def execute(self, request: CallRequest, raw_request: object = None) -> Answer:
        """Answer one call request. Errors of user code are answers; cancelling stops a step's callable under way.

        ``raw_request``: what middleware gets as the framework's request.
        """
        function = self._functions.get(request.function_id)
        if function is None:
            known = ", ".join(sorted(self._functions)) or "none"
            return failures.problem(
                "FunctionNotFound",
                f"this app has no function {request.function_id!r} (it has: {known}): was it renamed or not deployed?",
            )
        hooks.install(asyncio.get_running_loop())
        TRACE.set(request.trace)
        if not function.middleware:
            return await self._execute(function, request, self._context.copy(), None)
        context = self._context.copy()
        try:
            chain = Chain(function.middleware, function.client, raw_request, context)
        except HookFailed as failed:
            return failures.answer(failed.error)
        return await middle.answered(chain, function, self._execute(function, request, context, chain))

    async def _execute(self, function: Function, request: CallRequest, context: Context, chain: Chain | None) -> Answer:
        try:
            if function.is_sync:
                return await threads.execute(
                    function, request, self._pool, context, self.load_body, strict=self.always_replay, chain=chain
                )
            return await (self._discover if request.is_discovery else self._target)(function, request, chain)
        except EventDataError as problem:
            return failures.answer(problem)

    async def abandon(self, run_id: str) -> None:
        """The run has ended elsewhere (it was cancelled): give up its kept execution, if there is one."""
        execution = self._kept.get(run_id)
        if execution is not None:
            self._kept.drop(execution)
            await give_up(execution, self._give_up_s)

    def forget(self, run_id: str) -> None:
        """As :meth:`abandon`, without waiting."""
        execution = self._kept.get(run_id)
        if execution is not None:
            self._kept.drop(execution)
            self._say_goodbye(execution)

    def offer(self, run_id: str, step_id: str, live: Live) -> bool:
        """The response to a request has begun to arrive; whether a kept execution of the run reads it along."""
        execution = self._kept.get(run_id)
        return execution is not None and execution.offer(step_id, live)

    async def close(self) -> None:
        """Give up everything that is kept."""
        for execution in self._kept.clear():
            self._say_goodbye(execution)
        if self._goodbyes:
            await asyncio.wait(self._goodbyes, timeout=2 * self._give_up_s)
        self._pool.close()

    # ------------------------------------------------------------------------------------------------------- discovery

    async def _discover(self, function: Function, request: CallRequest, chain: Chain | None) -> Answer:
        execution = self._find(function, request)
        async with execution.lock:
            if not self._usable(execution, request):
                await self._discard(execution)
                execution = self._create(function, request, keep=not self.always_replay)
                await execution.lock.acquire()
                try:
                    return await self._drive(execution, request, chain)
                finally:
                    execution.lock.release()
            return await self._drive(execution, request, chain)

    async def _drive(self, execution: Execution, request: CallRequest, chain: Chain | None) -> Answer:
        execution.driving = True
        try:
            request = await self._begin(execution, request, chain)
            answer = await self._answer(execution, request)
        except BaseException:
            self._break_off(execution)
            raise
        finally:
            execution.driving = False
            execution.chain = None
        if self.always_replay or execution.ended or answer.kind is AnswerKind.ERROR:
            await self._discard(execution)
        elif execution.machine.has_news:
            execution.tell_late()
        return answer

    async def _answer(self, execution: Execution, request: CallRequest) -> Answer:
        machine = execution.machine
        machine.retry()
        fed = len(execution.fed)
        wait = await execution.feed(request)
        if (missed := execution.missed(request)) and (machine.has_news or execution.ended):
            strayed = replays.strayed(request, missed, [call.label for call in machine.news()])
            if self.always_replay:
                return strayed
        while not execution.ended:
            if machine.has_news:
                return await self._report(execution, request)
            if machine.pending:
                # Nothing new since the last answer, or that answer may have been lost: say it all again.
                again = request.attempt > 0 or request.rescued or fed == len(execution.fed)
                return await self._ops(execution, request, machine.everything() if again else [])
            stuck = await self._idle(execution, wait)
            if stuck is not None:
                return stuck
            wait = await execution.settle(final=True)
        return await _outcome(execution)

    async def _report(self, execution: Execution, request: CallRequest) -> Answer:
        machine = execution.machine
        again = request.attempt > 0 or request.rescued
        calls = machine.everything() if again else machine.news()
        only = calls[0] if len(machine.pending) == 1 else None
        if only is not None and only.op is Opcode.STEP_RUN and not request.disable_immediate:
            machine.reported(calls)
            edits.apply(only, request)
            answer = await run_body(only, self._pool, request.attempt, request.max_attempts, execution.chain)
            if answer.ops[0].op == Opcode.STEP_ERROR:
                machine.failed(only)
            return answer
        return await self._ops(execution, request, calls)

    async def _ops(self, execution: Execution, request: CallRequest, calls: list[StepCall]) -> Answer:
        race = execution.machine.parallel
        execution.machine.reported(calls)
        ops = [edits.apply(call, request).report(race) for call in calls]
        answer = Answer(kind=AnswerKind.OPS, ops=ops, req_version=REQUEST_VERSION)
        return answer if execution.chain is None else await middle.reported(execution.chain, answer, calls)

    async def _idle(self, execution: Execution, wait: Wait) -> Answer | None:
        """Nothing to report and nothing pending, but the function goes on: wait, or say that it is stuck."""
        blind = wait in (Wait.EXPLAINED, Wait.UNKNOWN) and not execution.timers.sleeps
        limit = self._patience.idle if blind else self._patience.real
        if not await execution.settler.stays(wait, limit):
            return None
        return failures.problem(
            "FunctionStuck",
            f"the function waits for something that does not come: no step is pending, and its tasks have been waiting for "
            f"{limit:g} s on a queue, an event, a lock or a future that nothing sets",
        )

    # -------------------------------------------------------------------------------------------------- targeted steps

    async def _target(self, function: Function, request: CallRequest, chain: Chain | None) -> Answer:
        # What middleware puts into the context is one call's: steps that run in parallel must not share it.
        alone = self.always_replay or (chain is not None and chain.reads_input())
        kept = None if alone else self._kept.get(request.run_id)
        call = None if kept is None else kept.machine.known(request.step_id)
        if kept is not None and call is not None:
            return await self._run_target(call, request, chain)
        execution, call = await self._search(function, request, kept, chain, keep=kept is None and not alone)
        try:
            if call is None:
                return threads.not_found(request, [other.label for other in execution.machine.everything()])
            return await self._run_target(call, request, chain)
        finally:
            if self._kept.get(request.run_id) is not execution:
                await self._discard(execution)

    async def _run_target(self, call: StepCall, request: CallRequest, chain: Chain | None) -> Answer:
        if call.state is State.ABANDONED:
            return abandoned(call)
        if call.body is None:
            return threads.not_found(request, [call.label])
        if chain is not None:
            await chain.replay()
            await chain.begin()
        edits.apply(call, request)
        return await run_body(call, self._pool, request.attempt, request.max_attempts, chain)

    async def _search(
        self, function: Function, request: CallRequest, kept: Execution | None, chain: Chain | None, *, keep: bool
    ) -> tuple[Execution, StepCall | None]:
        """Replay to find the step's call: in the kept execution where the request goes on from it, else in a new one."""
        if kept is not None:
            async with kept.lock:
                if self._usable(kept, request):
                    await self._replay(kept, request, chain)
            if (call := kept.machine.known(request.step_id)) is not None:
                return kept, call
        fresh = self._create(function, request, keep=keep)
        async with fresh.lock:
            await self._replay(fresh, request, chain)
        return fresh, fresh.machine.known(request.step_id)

    async def _replay(self, execution: Execution, request: CallRequest, chain: Chain | None) -> None:
        execution.driving = True
        try:
            await execution.feed(await self._begin(execution, request, chain))
        except BaseException:
            self._break_off(execution)
            raise
        finally:
            execution.driving = False
            execution.chain = None

    # --------------------------------------------------------------------------------------------------------- keeping

    def _find(self, function: Function, request: CallRequest) -> Execution:
        kept = None if self.always_replay else self._kept.get(request.run_id)
        if kept is None:
            return self._create(function, request, keep=not self.always_replay)
        self._keep(kept)
        return kept

    def _usable(self, execution: Execution, request: CallRequest) -> bool:
        """Whether the execution can go on, or start."""
        return not execution.delivered and execution.fits(request)

    def _create(self, function: Function, request: CallRequest, *, keep: bool) -> Execution:
        execution = Execution(function, request.run_id, self._patience, self.on_late, self.load_body)
        execution.driving = True
        if keep:
            self._keep(execution)
        return execution

    async def _begin(self, execution: Execution, request: CallRequest, chain: Chain | None) -> CallRequest:
        """Start the function unless it is suspended; the request as middleware leaves it."""
        execution.chain = chain
        context = self._context.copy() if chain is None else chain.variables
        if chain is not None:
            request = await self._input(execution, request, chain)
            if not request.current:
                await chain.begin()
            chain.detach()
        elif execution.context is None:
            execution.context = _context(execution, request, plain=False)
        assert execution.context is not None
        execution.context.attempt = request.attempt
        if execution.root is None:
            execution.start(execution.function.call_async(execution.context), context)
        return request

    async def _input(self, execution: Execution, request: CallRequest, chain: Chain) -> CallRequest:
        """Give the call's input to middleware. A function that is suspended finds the changes in the context it has."""
        context = _context(execution, request, plain=True)
        request = await middle.transform_input(chain, context, execution.function, request)
        if execution.context is None:
            execution.context = context
        else:
            vars(execution.context).update(vars(context))
        return request

    def _keep(self, execution: Execution) -> None:
        for cold in self._kept.put(execution):
            self._say(self._in_turn(cold))

    async def _discard(self, execution: Execution) -> None:
        self._kept.drop(execution)
        if execution.ended and not execution.owned.active and not execution.owned.parked:
            execution.retire()
            return
        said = self._say_goodbye(execution)
        if self.always_replay:
            await asyncio.shield(said)  # before the next replay begins

    def _break_off(self, execution: Execution) -> None:
        """It stopped at any place, perhaps with a completion that was not fed: nothing can go on from there."""
        self._kept.drop(execution)
        self._say_goodbye(execution)

    def _say_goodbye(self, execution: Execution) -> asyncio.Task[object]:
        return self._say(give_up(execution, self._give_up_s))

    def _say(self, goodbye: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        task = asyncio.get_running_loop().create_task(goodbye)
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)
        return task

    async def _in_turn(self, execution: Execution) -> None:
        """Give it up once the calls that use it have ended."""
        async with execution.lock:
            pass
        if not execution.abandoned:
            await give_up(execution, self._give_up_s)


class _ByClient(Mapping[str, Function]):
    """A client's functions by id; declared at any time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, Function] = {}

    def __getitem__(self, key: str) -> Function:
        if key not in self._known:
            self._known = {function.id: function for function in self._client.functions}
        return self._known[key]

    def __iter__(self) -> Iterator[str]:
        return (function.id for function in self._client.functions)

    def __len__(self) -> int:
        return len(self._client.functions)


def _context(execution: Execution, request: CallRequest, *, plain: bool) -> UserContext[Any]:
    return make_context(request, execution.function, execution.step, lambda: execution.replaying, plain=plain)


async def _outcome(execution: Execution) -> Answer:
    """The function has returned or raised."""
    root = execution.root
    assert root is not None
    execution.delivered = True
    if root.cancelled():
        return failures.problem(
            "CancelledError", "the function's main task was cancelled, by itself or by its own code"
        )
    error = forgotten.told(execution, root.exception())
    if execution.chain is not None:
        result = None if error is not None else root.result()
        return await middle.outcome(execution.chain, execution.function, result, error)
    return failures.answer(error) if error is not None else middle.returned(execution.function, root.result())
